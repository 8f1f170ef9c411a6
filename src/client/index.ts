/**
 * A client of the Open Service Broker API v2.17, for those who build platforms and tests.
 * @module
 */
export {
  type Answer,
  type CallOptions,
  OsbClient,
  type OsbClientOptions,
  type PlanIds,
  type Poll,
  type PollHints,
  type ResourceIds
} from './client.ts'
export { bindingPath, instancePath } from './endpoint.ts'
export {
  BrokerUnreachable,
  OperationFailed,
  OperationTimeout,
  OsbError,
  type OsbErrorDetails,
  UnexpectedAnswer
} from './errors.ts'
export {
  type HttpTransportOptions,
  httpTransport,
  type Injectable,
  injectTransport,
  type Transport,
  type WireReply,
  type WireRequest
} from './transport.ts'
export { type WaitOptions, waitForOperation } from './wait.ts'
