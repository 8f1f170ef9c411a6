import pg from 'pg'

/*
 * A host application may have changed how node-postgres reads types, for the whole process (timestamps as strings is a
 * common choice). The store reads the types of its own tables itself.
 */
const parsers = new Map<number, (text: string) => unknown>([
  [pg.types.builtins.BOOL, (text) => text === 't'],
  [pg.types.builtins.INT4, Number],
  [pg.types.builtins.FLOAT8, Number],
  [pg.types.builtins.JSONB, (text) => JSON.parse(text)],
  [pg.types.builtins.TIMESTAMPTZ, (text) => new Date(text)]
])

const asText = (text: string): unknown => text

/** `types` of every query of the store. */
export const sqlTypes: pg.CustomTypesConfig = {
  getTypeParser: (oid: number, format?: string) =>
    format === 'binary' ? pg.types.getTypeParser(oid, 'binary') : (parsers.get(oid) ?? asText)
}
