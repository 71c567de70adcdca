/** Invite links of a space, as their organisers see them. */

import { api } from "../../lib/api.js";

const DAY_MS = 86_400_000;

export const EXPIRIES = [["1", "1 day"], ["7", "7 days"], ["30", "30 days"], ["never", "Never"]];
export const USES = [["1", "1 person"], ["10", "10 people"], ["50", "50 people"], ["any", "Any number"]];

export async function listInvites(spaceId) {
  const { items } = await api.get(`/spaces/${spaceId}/invites`);
  return items.filter(isOpen);
}

/** `days` and `uses` are values of EXPIRIES and USES. */
export function createInvite(spaceId, { role, days, uses }, key) {
  const body = { role };
  if (days !== "never") body.expires_at = new Date(Date.now() + Number(days) * DAY_MS).toISOString();
  if (uses !== "any") body.max_uses = Number(uses);
  return api.post(`/spaces/${spaceId}/invites`, body, { key });
}

export const revokeInvite = (spaceId, code) => api.delete(`/spaces/${spaceId}/invites/${encodeURIComponent(code)}`);

/** The link as others open it: at the address this page was opened from. */
export const inviteLink = (invite) => new URL(`/invite/${invite.code}`, location.origin).href;

const isOpen = ({ expires_at: expiresAt, max_uses: most, uses }) =>
  (expiresAt === null || Date.parse(expiresAt) > Date.now()) && (most === null || uses < most);
