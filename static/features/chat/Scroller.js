import { Component, html } from "../../vendor/preact.js";

const AT_END_PX = 48;
const NEAR_EDGE_PX = 700;
const LINE_FROM_TOP_PX = 64;

/**
 * The scrolling box of the feed. Stays at the end while it is there; otherwise keeps the first visible message in its
 * place, whatever is put in above or below. Items carry `data-id`.
 *
 * Props: `label`, `goTo` (`{what: "end"|"line", nonce}`), `onEnd(bool)`, `onNearTop`, `onNearEnd`, `onKeyDown`.
 */
export class Scroller extends Component {
  box = null;
  inner = null;
  keepBox = (element) => (this.box = element);
  keepInner = (element) => (this.inner = element);
  isAtEnd = true;
  reached = 0;

  componentDidMount() {
    this.watcher = new ResizeObserver(() => this.settle());
    this.watcher.observe(this.box);
    this.watcher.observe(this.inner);
    this.follow();
    this.settle();
  }

  componentWillUnmount() {
    this.watcher.disconnect();
    cancelAnimationFrame(this.frame);
  }

  getSnapshotBeforeUpdate() {
    return this.isAtEnd ? null : this.firstVisible();
  }

  componentDidUpdate(_props, _state, snapshot) {
    if (snapshot) this.putBack(snapshot);
    this.follow();
    this.settle();
  }

  /** Go where the room asks to, once per request. */
  follow() {
    const { goTo } = this.props;
    if (!goTo || goTo.nonce === this.reached) return;
    this.reached = goTo.nonce;
    this.box.scrollTop = this.box.scrollHeight;
    this.isAtEnd = true;
    if (goTo.what !== "line") return;
    const line = this.inner.querySelector("[data-line]");
    if (!line) return;
    const overhang = this.topOf(line) - LINE_FROM_TOP_PX;
    if (overhang < 0) this.box.scrollTop += overhang;
    this.isAtEnd = this.distanceToEnd() < AT_END_PX;
  }

  /** After any change: stay at the end, and load more when an edge is near. */
  settle() {
    if (this.isAtEnd) this.box.scrollTop = this.box.scrollHeight;
    this.tell();
  }

  tell() {
    const { onEnd, onNearTop, onNearEnd } = this.props;
    onEnd(this.isAtEnd);
    if (this.box.scrollTop < NEAR_EDGE_PX) onNearTop();
    if (this.distanceToEnd() < NEAR_EDGE_PX) onNearEnd();
  }

  onScroll = () => {
    if (!this.box) return; // a scroll event may come one frame after the box went
    this.isAtEnd = this.distanceToEnd() < AT_END_PX;
    cancelAnimationFrame(this.frame);
    this.frame = requestAnimationFrame(() => this.tell());
  };

  distanceToEnd() {
    return this.box.scrollHeight - this.box.clientHeight - this.box.scrollTop;
  }

  topOf(element) {
    return element.getBoundingClientRect().top - this.box.getBoundingClientRect().top;
  }

  firstVisible() {
    const items = this.inner.querySelectorAll("[data-id]");
    let low = 0;
    let high = items.length - 1;
    while (low < high) {
      const middle = (low + high) >> 1;
      const { bottom } = items[middle].getBoundingClientRect();
      if (bottom > this.box.getBoundingClientRect().top) high = middle;
      else low = middle + 1;
    }
    return items[low] ? { id: items[low].dataset.id, top: this.topOf(items[low]) } : null;
  }

  putBack({ id, top }) {
    const item = this.inner.querySelector(`[data-id="${id}"]`);
    if (item) this.box.scrollTop += this.topOf(item) - top;
  }

  render({ label, children, onKeyDown }) {
    return html`
      <div class="scroll" tabindex="0" role="log" aria-live="off" aria-label=${label} ref=${this.keepBox}
        onScroll=${this.onScroll} onKeyDown=${onKeyDown}>
        <div class="feed-in" ref=${this.keepInner}>${children}</div>
      </div>`;
  }
}
