import type { Client } from 'pg'

/** Writes some megabytes that do not compress. */
export async function fill(client: Client, table: string, megabytes: number): Promise<void> {
  await client.query(
    `CREATE TABLE IF NOT EXISTS ${table} (body bytea); ALTER TABLE ${table} ALTER body SET STORAGE EXTERNAL`
  )
  await client.query(
    `INSERT INTO ${table} SELECT decode(repeat(md5(random()::text), 32768), 'hex') FROM generate_series(1, $1 * 2)`,
    [megabytes]
  )
}

/**
 * Makes a function that runs as the owner, so that a locked binding can still write.
 * @returns the statement that writes 20 MB, enough to have the database closed
 */
export async function growsAnyway(client: Client): Promise<string> {
  await client.query(
    `CREATE TABLE IF NOT EXISTS grown (body bytea); ALTER TABLE grown ALTER body SET STORAGE EXTERNAL;
     CREATE FUNCTION grow() RETURNS void LANGUAGE sql SECURITY DEFINER AS $$
       INSERT INTO grown SELECT decode(repeat(md5(random()::text), 32768), 'hex') FROM generate_series(1, 40)
     $$`
  )
  return 'SELECT grow()'
}
