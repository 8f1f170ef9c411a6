/** Whose spans and metrics these are (OpenTelemetry: instrumentation scope). */
export const SCOPE = 'fastify-open-service-broker'
