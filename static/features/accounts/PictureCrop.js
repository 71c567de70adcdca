import { html, useEffect, useLayoutEffect, useRef, useState } from "../../vendor/preact.js";
import { explain, isPrimaryAway } from "../../lib/problems.js";
import { Button } from "../../ui/Button.js";
import { Dialog } from "../../ui/Dialog.js";
import { FieldError, freshId } from "../../ui/Field.js";
import { NotNow, useNotNow } from "../../ui/NotNow.js";
import { drawSquare, squareOf, usePicture, WHOLE } from "./portrait.js";

const MOST_ZOOM = 4;
const STEP = 0.05;
const MOVES = { ArrowLeft: [-STEP, 0], ArrowRight: [STEP, 0], ArrowUp: [0, -STEP], ArrowDown: [0, STEP] };

/** See the picture as others will, choose its part by dragging, keys and zoom, and use it. */
export function PictureCrop({ bitmap, name, onClose, onUsed }) {
  const [part, setPart] = useState(WHOLE);
  const [busy, setBusy] = useState(false);
  const [problem, setProblem] = useState(null);
  const [zoomId] = useState(() => freshId("zoom"));
  const large = useRef(null);
  const small = useRef(null);
  const notNow = useNotNow();
  useLayoutEffect(() => {
    drawSquare(large.current, bitmap, part);
    drawSquare(small.current, bitmap, part);
  }, [bitmap, part]);
  useEffect(() => () => bitmap.close(), [bitmap]);

  const move = (dx, dy) => setPart((before) => ({ ...before, x: within(before.x + dx), y: within(before.y + dy) }));
  const onKeyDown = (event) => {
    if (!MOVES[event.key]) return;
    move(...MOVES[event.key]);
    event.preventDefault();
  };
  const onPointerMove = (event) => {
    if (!event.buttons) return;
    const { side, roomX, roomY } = squareOf(bitmap, part);
    const perPixel = side / large.current.clientWidth;
    move(roomX ? (-event.movementX * perPixel) / roomX : 0, roomY ? (-event.movementY * perPixel) / roomY : 0);
  };
  const use = async () => {
    setBusy(true);
    setProblem(null);
    try {
      await usePicture(large.current);
      onClose();
      onUsed();
    } catch (error) {
      setBusy(false);
      setProblem(isPrimaryAway(error) ? null : explain(error));
    }
  };
  return html`
    <${Dialog} title="Your picture" onClose=${onClose}>
      <div class="crop">
        <button type="button" class="crop-view" aria-label="The part that is shown. Drag the picture, or move it with the arrow keys."
          onKeyDown=${onKeyDown} onPointerDown=${(event) => event.currentTarget.setPointerCapture(event.pointerId)} onPointerMove=${onPointerMove}><canvas ref=${large} /></button>
        <div class="crop-side">
          <div class="field"><label for=${zoomId}>Zoom</label>
            <input class="range" id=${zoomId} type="range" min="1" max=${MOST_ZOOM} step="0.05" value=${part.zoom} aria-valuetext=${`${Math.round(part.zoom * 100)} %`}
              onInput=${(event) => setPart({ ...part, zoom: Number(event.currentTarget.value) })} /></div>
          <p class="crop-small" aria-hidden="true"><span class="avatar"><canvas ref=${small} /></span><b class="clip">${name}</b></p>
        </div>
      </div>
      <p class="hint">Drag it to choose the part that is shown. Only this square leaves your device, without the place it was taken at.</p>
      ${problem && html`<${FieldError} text=${problem} role="alert" />`}
      <div class="dialog-foot">
        <${Button} onClick=${onClose}>Cancel<//>
        <${Button} kind="primary" busy=${busy && "Saving the picture…"} disabledBecause=${notNow} onClick=${use} data-autofocus="">Use this picture<//>
        <${NotNow} typed=${false} />
      </div>
    <//>`;
}

const within = (share) => Math.min(1, Math.max(0, share));
