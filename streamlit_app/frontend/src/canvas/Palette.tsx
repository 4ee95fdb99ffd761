/** Kinds of definitions, to click or to drop on a parent. */

export const KIND = "application/x-tippers-kind";

interface Props {
  kinds: readonly { kind: string; words: string }[];
  /** Called with the kind that is being dragged, and with null when dragging ends. */
  onDrag: (kind: string | null) => void;
  onChoose: (kind: string) => void;
}

export function Palette({ kinds, onDrag, onChoose }: Props) {
  return (
    <div className="palette" role="toolbar" aria-label="New definition">
      <span>New:</span>
      {kinds.map(({ kind, words }) => (
        <button
          key={kind}
          type="button"
          draggable
          data-kind={kind}
          title={`New ${words}: click, or drop on its parent`}
          onDragStart={(event) => {
            event.dataTransfer.setData(KIND, kind);
            event.dataTransfer.effectAllowed = "copy";
            onDrag(kind);
          }}
          onDragEnd={() => onDrag(null)}
          onClick={() => onChoose(kind)}
        >
          {words}
        </button>
      ))}
    </div>
  );
}
