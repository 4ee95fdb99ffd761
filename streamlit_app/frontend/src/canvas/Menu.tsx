/** Offers the kinds of definitions that an edge dropped on an empty spot can create. */
import { useEffect, useRef } from "react";

export interface MenuAt {
  x: number;
  y: number;
  parent: string;
  title: string;
  kinds: readonly { kind: string; words: string }[];
}

interface Props {
  at: MenuAt;
  onChoose: (kind: string) => void;
  onClose: () => void;
}

export function Menu({ at, onChoose, onClose }: Props) {
  const box = useRef<HTMLDivElement>(null);
  useEffect(() => box.current?.querySelector("button")?.focus(), []);
  const move = (by: number) => {
    const all = [...(box.current?.querySelectorAll("button") ?? [])];
    const root = box.current?.getRootNode() as ShadowRoot | Document;
    const now = all.indexOf(root.activeElement as HTMLButtonElement);
    all[(now + by + all.length) % all.length]?.focus();
  };
  return (
    <div
      ref={box}
      className="menu"
      role="menu"
      aria-label={`New definition from ${at.title}`}
      style={{ left: at.x, top: at.y }}
      onKeyDown={(event) => {
        if (event.key === "Escape") onClose();
        if (event.key === "ArrowDown") move(1);
        if (event.key === "ArrowUp") move(-1);
        event.stopPropagation();
      }}
      onBlur={(event) => {
        if (!event.currentTarget.contains(event.relatedTarget as Node | null)) onClose();
      }}
    >
      <div className="menu-title">New from {at.title}</div>
      {at.kinds.map(({ kind, words }) => (
        <button key={kind} type="button" role="menuitem" onClick={() => onChoose(kind)}>
          {words}
        </button>
      ))}
    </div>
  );
}
