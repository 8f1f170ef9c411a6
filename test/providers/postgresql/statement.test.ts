import assert from 'node:assert/strict'
import { test } from 'node:test'
import { summaryOf } from '../../../src/providers/postgresql/statement.ts'

const summaries: [string, string][] = [
  [`CREATE ROLE "osb_x" LOGIN PASSWORD 'SCRAM-SHA-256$4096:salt$stored:server'`, 'CREATE ROLE'],
  [`ALTER ROLE x NOLOGIN PASSWORD NULL`, 'ALTER ROLE'],
  ['create database "osb_x" TEMPLATE template0', 'CREATE DATABASE'],
  ['DROP DATABASE IF EXISTS "osb_x" WITH (FORCE)', 'DROP DATABASE'],
  ['ALTER DEFAULT PRIVILEGES FOR ROLE x GRANT SELECT ON TABLES TO y', 'ALTER DEFAULT PRIVILEGES'],
  ['REASSIGN OWNED BY x TO y', 'REASSIGN OWNED'],
  ['DROP OWNED BY x', 'DROP OWNED'],
  ['GRANT CONNECT ON DATABASE x TO y', 'GRANT'],
  [`\n      SELECT set_config('application_name', $1, false)`, 'SELECT'],
  ['-- why\n  SET ROLE "x"', 'SET ROLE'],
  ['RESET ROLE', 'RESET ROLE'],
  [`SET lock_timeout = '5s'`, 'SET'],
  ['', 'OTHER'],
  ["'hush'", 'OTHER']
]
for (const [sql, summary] of summaries) {
  test(`summary of a statement: ${JSON.stringify(sql)} is ${summary}`, () => assert.equal(summaryOf(sql), summary))
}
