/**
 * What is used of OpenTelemetry's SDK; loaded late. Named one by one, so that the bundle leaves out what is not.
 */
export { createTraceState, diag, DiagLogLevel } from '@opentelemetry/api'
export { setGlobalErrorHandler } from '@opentelemetry/core'
export {
  defaultResource,
  detectResources,
  hostDetector,
  osDetector,
  processDetector,
  resourceFromAttributes,
} from '@opentelemetry/resources'
export { NodeSDK } from '@opentelemetry/sdk-node'
export { AlwaysOnSampler, BatchSpanProcessor, ConsoleSpanExporter } from '@opentelemetry/sdk-trace'
