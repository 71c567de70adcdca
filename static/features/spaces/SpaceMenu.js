import { html } from "../../vendor/preact.js";
import { Menu } from "../../ui/Menu.js";
import { isOrganiser } from "./spaces.js";

/** What can be done with a space. `here` is the pane that is open. */
export function SpaceMenu({ space, actions, here }) {
  const path = `/spaces/${space.id}`;
  return html`<${Menu} label=${`More about ${space.name}`} items=${[
    here !== "chat" && { icon: "message-circle", label: "Chat", href: path },
    here !== "people" && { icon: "users", label: "People", href: `${path}/people` },
    isOrganiser(space.role) && { icon: "user-plus", label: "Invite people", run: actions.invite },
    isOrganiser(space.role) && here !== "settings" && { icon: "settings", label: "Space settings", href: `${path}/settings` },
    { icon: "log-out", label: "Leave the space", run: actions.leave, bad: true },
  ]} />`;
}
