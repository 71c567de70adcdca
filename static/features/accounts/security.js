/** What the security settings ask of the server. */

import { api } from "../../lib/api.js";

const everything = (path) => api.get(path).then(({ items }) => items);

export const listSessions = () => everything("/auth/sessions?limit=200");
export const endSession = (id) => api.delete(`/auth/sessions/${id}`);
export const endOtherSessions = () => api.delete("/auth/sessions");
