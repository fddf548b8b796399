/** Carries the news of changed keys to the other replicas. */
export type Bus = {
  /** Starts to connect. The listener is told of every change between hearing and not hearing; before `up`, nothing is heard. */
  open(listener: BusListener): Promise<void>
  /** Resolves when the news is out: every replica that hears will hear it. Rejects where that is not certain. */
  publish(keys: readonly string[]): Promise<void>
  close(): Promise<void>
}

export type BusListener = {
  /** Keys that another replica has changed. */
  readonly onKeys: (keys: readonly string[]) => void
  readonly onUp: () => void
  /** From now on news are lost. */
  readonly onGap: (why: Error) => void
}

/** The most keys of one message; PostgreSQL takes less than 8,000 bytes. */
export const mostKeysPerMessage = 100

/** The channel of both kinds of bus. */
export const channel = 'plimsoll-cache'

/** The sender and the keys, none of which has a space. */
export const messageOf = (sender: string, keys: readonly string[]): string => [sender, ...keys].join(' ')

/** The keys of a message; none where it is one's own, whose news one has. */
export const keysOf = (message: string, self: string): string[] => {
  const [sender, ...keys] = message.split(' ')
  return sender === self ? [] : keys
}

/** Cuts a list of keys into messages. */
export const messagesOf = (sender: string, keys: readonly string[]): string[] => {
  const messages: string[] = []
  for (let i = 0; i < keys.length; i += mostKeysPerMessage) {
    messages.push(messageOf(sender, keys.slice(i, i + mostKeysPerMessage)))
  }
  return messages
}
