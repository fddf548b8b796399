import type * as z from 'zod'
import type { ProblemCode } from '../../contract/problems.ts'
import type { ParameterSchema } from './parameters.ts'
import { createRouter, type Handler, type ServiceRouter } from './router.ts'

export type Method = 'get' | 'post' | 'put' | 'delete'

/** What a route takes and gives, for the API document; the schemas are those that check the input. */
export type Operation = {
  /** One line. */
  readonly summary: string
  /** More, in Markdown. */
  readonly description?: string
  /** Groups operations in the document: the first part of the path unless said otherwise. */
  readonly tag?: string
  /** Made with the document, as `headers` are: the routes read these themselves. */
  readonly path?: () => ParameterSchema
  readonly query?: ParameterSchema
  readonly headers?: () => ParameterSchema
  /** The request's body by its media type. */
  readonly body?: Readonly<Record<string, Content>>
  /** What is answered when all went well, by status. */
  readonly answers: Readonly<Record<number, Answer>>
  /** Answers at once, whatever the deadline: nothing is waited for. */
  readonly instant?: true
  /** Problems of this operation, beside those that every operation can give. */
  readonly problems?: readonly ProblemCode[]
}

export type Answer = {
  readonly description: string
  /** By media type; none: the answer has no body. */
  readonly content?: Readonly<Record<string, Content>>
  /** Headers that are worth a word: name and description. */
  readonly headers?: Readonly<Record<string, string>>
}

/** A schema, made when the document is; `bytes`: anything. Not made before, for a replica that starts has no use for it. */
export type Content = 'bytes' | (() => z.ZodType)

export type DescribedOperation = { readonly method: Method; readonly template: string; readonly operation: Operation }

/** The routes of an application, each with its description. */
export class Api {
  readonly router: ServiceRouter = createRouter()
  readonly operations: DescribedOperation[] = []

  get(template: string, operation: Operation, handler: Handler): void {
    this.#add('get', template, operation, handler)
  }

  post(template: string, operation: Operation, handler: Handler): void {
    this.#add('post', template, operation, handler)
  }

  put(template: string, operation: Operation, handler: Handler): void {
    this.#add('put', template, operation, handler)
  }

  delete(template: string, operation: Operation, handler: Handler): void {
    this.#add('delete', template, operation, handler)
  }

  #add(method: Method, template: string, operation: Operation, handler: Handler): void {
    this.operations.push({ method, template, operation })
    this.router[method](template, handler)
  }
}

/** An answer of 200 with a JSON body. */
export const json = (description: string, schema: () => z.ZodType): Operation['answers'] => ({
  200: { description, content: { 'application/json': schema } },
})

/** Problems of every operation that uses the database. */
export const databaseProblems: readonly ProblemCode[] = [
  'database-not-configured',
  'database-unavailable',
  'database-busy',
]
