import { testAvailability } from './availability-suite.ts'

testAvailability('CREATEDB CREATEROLE', (group) => group !== 'locks that others wait for')
