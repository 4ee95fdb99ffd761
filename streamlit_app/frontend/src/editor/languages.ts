/** Highlighting and completion per language. */
import {
  autocompletion,
  completeFromList,
  ifNotIn,
  type Completion,
  type CompletionSource,
} from "@codemirror/autocomplete";
import { localCompletionSource, pythonLanguage } from "@codemirror/lang-python";
import {
  PostgreSQL,
  keywordCompletionSource,
  schemaCompletionSource,
  sql,
} from "@codemirror/lang-sql";
import { indentUnit, LanguageSupport } from "@codemirror/language";
import type { Extension } from "@codemirror/state";

export type Language = "sql" | "python" | "expression";

/** Tables with their columns; a table's name can include its schema. */
export type Schema = Record<string, readonly string[]>;

// The part of Python that labelling functions can use; saving rejects the rest.
const WORDS: Record<"python" | "expression", readonly string[]> = {
  python: ["and", "elif", "else", "False", "if", "in", "is", "None", "not", "or", "return", "True"],
  expression: ["and", "False", "in", "is", "None", "not", "or", "True"],
};

export function language(
  name: Language,
  schema: Schema,
  names: readonly string[],
): Extension {
  if (name === "sql") {
    return sqlSupport(schema, names);
  }
  const sources: CompletionSource[] = [known(names, WORDS[name])];
  if (name === "python") {
    sources.push(localCompletionSource);
  }
  return [
    new LanguageSupport(pythonLanguage),
    indentUnit.of("    "),
    autocompletion({ override: sources, icons: false }),
  ];
}

function sqlSupport(schema: Schema, names: readonly string[]): Extension {
  const config = { dialect: PostgreSQL, schema: mutable(schema) };
  return [
    // Highlighting only: `sql` would add a second completion.
    sql({ dialect: PostgreSQL }).language,
    indentUnit.of("  "),
    autocompletion({
      icons: false,
      override: [
        known([...names, ...Object.keys(schema), ...columns(schema)], []),
        schemaCompletionSource(config),
        keywordCompletionSource(PostgreSQL, false),
      ],
    }),
  ];
}

/** Completes known names, even before their table is in the text. */
function known(names: readonly string[], words: readonly string[]): CompletionSource {
  const options: Completion[] = [
    ...[...new Set(names)].map((label) => ({ label, type: "variable", boost: 2 })),
    ...words.map((label) => ({ label, type: "keyword" })),
  ];
  return ifNotIn(["String", "Comment", "LineComment", "BlockComment"], completeFromList(options));
}

function columns(schema: Schema): string[] {
  return [...new Set(Object.values(schema).flat())];
}

function mutable(schema: Schema): Record<string, string[]> {
  return Object.fromEntries(Object.entries(schema).map(([table, of]) => [table, [...of]]));
}
