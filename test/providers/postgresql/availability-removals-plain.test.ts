import { testAvailability } from './availability-suite.ts'

testAvailability('CREATEDB CREATEROLE', 'removals')
