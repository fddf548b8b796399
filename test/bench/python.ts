/** The Python environment of the FastAPI peer. */
import * as python from '../support/python.ts'
import { pythonEnvironment, pythonRequirements } from './rows.ts'

/** Makes the environment unless it is there; returns why Python cannot, or undefined when all is well. */
export const preparePython = (): Promise<string | undefined> =>
  python.preparePython(pythonEnvironment, pythonRequirements)
