/** Calls and pages about an instance: by its id, or null for the one that answers. */

import { api } from "../lib/api.js";

/** The path of a page about an instance. */
export const pageOf = (instance, page = "/ops/replication") => at(page, instance);

/** The calls about an instance: the one that answers carries them there. */
export const ops = {
  get: (path, instance, options) => api.get(at(`/ops${path}`, instance), { ...options, aside: true }),
  post: (path, instance, body, options) => api.post(at(`/ops${path}`, instance), body, { ...options, aside: true }),
  put: (path, instance, body) => api.put(at(`/ops${path}`, instance), body, { aside: true }),
  delete: (path, instance) => api.delete(at(`/ops${path}`, instance), { aside: true }),
  patch: (path, instance, body) => api.patch(at(`/ops${path}`, instance), body, { aside: true }),
};

/** The address of a file that an instance answers with, for a link. */
export const fileOf = (path, instance) => at(`/api/ops${path}`, instance);

function at(path, instance) {
  if (instance === null) return path;
  return `${path}${path.includes("?") ? "&" : "?"}instance=${encodeURIComponent(instance)}`;
}
