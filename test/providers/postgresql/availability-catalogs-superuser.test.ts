import { testAvailability } from './availability-suite.ts'

testAvailability('superuser', 'catalogs')
