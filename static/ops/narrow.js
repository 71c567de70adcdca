import { useEffect, useState } from "../vendor/preact.js";

const NARROW = matchMedia("(max-width: 719px)");

/** True on a phone, also when the window is made so narrow later. */
export function useIsNarrow() {
  const [isNarrow, setIsNarrow] = useState(NARROW.matches);
  useEffect(() => {
    const look = () => setIsNarrow(NARROW.matches);
    NARROW.addEventListener("change", look);
    return () => NARROW.removeEventListener("change", look);
  }, []);
  return isNarrow;
}
