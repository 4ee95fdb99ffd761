/** Kinds of definitions, to be dropped on what is to be their parent. */

export const KIND = "application/x-tippers-kind";

interface Props {
  kinds: readonly { kind: string; words: string }[];
  /** The kind that is being dragged; null once it is not. */
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
          title={`A new ${words}: click, or drop it on its parent`}
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
