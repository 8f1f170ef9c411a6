/**
 * Options of Ajv for the schemas of this package. That they are valid is tested once and for all: compiling the metaschema
 * to check them again would take longer at each start than all of them together.
 */
export const OWN_SCHEMA = { meta: false, validateSchema: false } as const
