/** The canvas as a Streamlit component. */
import type { FrontendRendererArgs } from "@streamlit/component-v2-lib";
import flowSheet from "@xyflow/react/dist/style.css";
import { createRoot, type Root } from "react-dom/client";

import { isDark } from "../shared/theme";
import { Canvas } from "./Canvas";
import sheet from "./canvas.css";
import type { Data, Events, Tell } from "./types";

type Args = FrontendRendererArgs<{ [E in keyof Events]: Events[E] }, Data>;

interface Mounted {
  root: Root;
  place: HTMLElement;
  args: Args;
}

const mounted = new WeakMap<object, Mounted>();

export default function render(args: Args): () => void {
  const here = mounted.get(args.parentElement) ?? mount(args);
  here.args = args;
  const tell: Tell = (event, value) => here.args.setTriggerValue(event, value);
  here.root.render(<Canvas data={args.data} dark={isDark(here.place)} tell={tell} />);
  return () => {
    mounted.delete(args.parentElement);
    here.root.unmount();
    here.place.remove();
  };
}

function mount(args: Args): Mounted {
  const place = document.createElement("div");
  const style = document.createElement("style");
  style.textContent = `${flowSheet}\n${sheet}`;
  const inside = document.createElement("div");
  place.append(style, inside);
  args.parentElement.appendChild(place);
  const here = { root: createRoot(inside), place, args };
  mounted.set(args.parentElement, here);
  return here;
}
