import { testAvailability } from './availability-suite.ts'

testAvailability('superuser', (group) => group !== 'locks that others wait for')
