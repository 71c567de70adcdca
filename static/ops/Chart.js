import uPlot from "../vendor/uplot.js";
import { html, useEffect, useRef } from "../vendor/preact.js";
import { useStore } from "../lib/store.js";
import { theme } from "../lib/theme.js";
import { clock } from "../lib/time.js";

const FONT = "12px Geist, system-ui, sans-serif";
const TIME_AXIS_PX = 26;
const VALUE_AXIS_PX = 52;
const LIMIT_PX = 1.5;
const TIME_STEPS_S = [300, 600, 900, 1800];
const LABEL_HALF_PX = 20; // "17:30" below the last moment
const VALUE_STEPS = [1, 10, 100].flatMap((ten) => [1, 2, 5].map((step) => step * ten)).concat(
  [1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 18_000, 36_000, 86_400, 172_800, 604_800].map((seconds) => seconds * 1000),
);
const LEAST_SPAN = 10; // lower ones would press noise to the top

/**
 * Lines over the last `spanS` seconds. `data` is uPlot's: times in seconds, then one list for each of `lines`, `{token, width?}` or `{token, dots, isRing?}`; values are whole milliseconds, `limit` is drawn across, dashed. `words(value)`
 * writes a value, `label` says in a sentence what the drawing shows. `onPoint(index | null)` follows the pointer.
 */
export function Chart({ data, spanS, lines, limit = null, words, label, onPoint }) {
  const box = useRef(null);
  const plot = useRef(null);
  const latest = useRef({ data });
  latest.current = { data, onPoint };
  const { choice } = useStore(theme);
  const look = `${lines.map(({ token, width, dots }) => `${token} ${width} ${dots}`)} ${limit}`;

  useEffect(() => {
    const draw = () => {
      plot.current?.destroy();
      plot.current = new uPlot(options(box.current, { spanS, lines, limit, words }, (index) => latest.current.onPoint?.(index)), latest.current.data, box.current);
    };
    const resized = new ResizeObserver(() => plot.current?.setSize(sizeOf(box.current)));
    const systemTheme = matchMedia("(prefers-color-scheme: dark)");
    draw();
    document.fonts.ready.then(() => plot.current && draw());
    resized.observe(box.current);
    systemTheme.addEventListener("change", draw);
    return () => {
      resized.disconnect();
      systemTheme.removeEventListener("change", draw);
      plot.current.destroy();
      plot.current = null;
    };
  }, [choice, look]);
  useEffect(() => {
    plot.current.setData(data);
  }, [data]);

  return html`<div class="chart" role="img" aria-label=${label} ref=${box}></div>`;
}

function options(box, { spanS, lines, limit, words }, onPoint) {
  const ink = colour("--ink-3", box);
  const axis = { stroke: ink, font: FONT, ticks: { show: false } };
  return {
    ...sizeOf(box),
    padding: [8, LABEL_HALF_PX, 0, 0],
    legend: { show: false },
    cursor: { y: false, drag: { x: false, y: false }, points: { size: 7 } },
    scales: { x: { range: (_, __, newest) => [newest - spanS, newest] }, y: { range: (_, __, most) => [0, Math.max(most ?? 0, limit ?? 0, LEAST_SPAN) * 1.12] } },
    axes: [
      { ...axis, grid: { show: false }, size: TIME_AXIS_PX, incrs: TIME_STEPS_S, values: (_, splits) => splits.map((seconds) => clock(seconds * 1000)) },
      { ...axis, grid: { stroke: colour("--chart-grid", box), width: 1 }, size: VALUE_AXIS_PX, space: 34, incrs: VALUE_STEPS, values: (_, splits) => splits.map(words) },
    ],
    series: [{}, ...lines.map((line) => series(line, colour(line.token, box)))],
    hooks: { setCursor: [(u) => onPoint(u.cursor.idx ?? null)], drawAxes: limit === null ? [] : [drawLimit(limit, colour("--warn", box))] },
  };
}

/** Dots for what happens now and then, a line for what always is. */
function series({ width = 2, dots, isRing }, stroke) {
  if (dots) return { stroke, paths: () => null, points: { show: true, size: dots, stroke, fill: isRing ? "transparent" : stroke, width: isRing ? 1.5 : 0 } };
  return { stroke, width, points: { show: false } };
}

const drawLimit = (limit, stroke) => ({ ctx, bbox, valToPos }) => {
  const y = Math.round(valToPos(limit, "y", true));
  ctx.save();
  ctx.strokeStyle = stroke;
  ctx.lineWidth = LIMIT_PX * devicePixelRatio;
  ctx.setLineDash([4 * devicePixelRatio, 4 * devicePixelRatio]);
  ctx.beginPath();
  ctx.moveTo(bbox.left, y);
  ctx.lineTo(bbox.left + bbox.width, y);
  ctx.stroke();
  ctx.restore();
};

const sizeOf = (box) => ({ width: Math.max(200, box.clientWidth), height: box.clientHeight });

/** A canvas cannot read custom properties: let an element resolve the token in the theme that applies. */
function colour(token, near) {
  const probe = document.createElement("i");
  probe.style.setProperty("color", `var(${token})`);
  near.append(probe);
  const resolved = getComputedStyle(probe).color;
  probe.remove();
  return resolved;
}
