/** Reads Streamlit's theme from inside a component. */

/** Whether the theme is dark, judged by the brightness of its background. */
export function isDark(element: Element): boolean {
  const written = getComputedStyle(element).getPropertyValue("--st-background-color").trim();
  const rgb = channels(written);
  return rgb !== null && 0.299 * rgb[0] + 0.587 * rgb[1] + 0.114 * rgb[2] < 128;
}

function channels(colour: string): [number, number, number] | null {
  const hex = /^#([0-9a-f]{3,8})$/i.exec(colour)?.[1];
  if (hex) {
    const wide = hex.length < 6 ? [...hex].map((digit) => digit + digit).join("") : hex;
    return [0, 2, 4].map((at) => parseInt(wide.slice(at, at + 2), 16)) as [number, number, number];
  }
  const parts = /^rgba?\(([^)]+)\)$/i.exec(colour)?.[1]?.split(/[\s,/]+/).map(Number);
  return parts && parts.length >= 3 ? [parts[0]!, parts[1]!, parts[2]!] : null;
}
