/** What a command may use of the process it runs in; main.ts makes the real one, tests make their own. */
export type CommandHost = {
  readonly env: Readonly<Record<string, string | undefined>>
  readonly stdout: { write(text: string): unknown; readonly isTTY?: boolean }
  readonly stderr: { write(text: string): unknown; readonly isTTY?: boolean }
  /** Aborts at the first SIGINT or SIGTERM. */
  readonly signal: AbortSignal
  /** What the process exits with; 0 unless a command sets it. */
  setExitCode(code: number): void
  /** Ends the process at once. */
  readonly exit: (code: number) => void
}
