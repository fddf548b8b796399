import { toMicrosecond } from '../../kit/units.ts'

/** A CPU as seen by the thread that runs on it. */
export type Cpu = Readonly<{
  /** CPU time (user and system) that the calling thread has used so far, in ms. */
  timeMs: () => number
  /** Does that many rounds of a fixed piece of arithmetic. */
  spin: (iterations: number) => void
}>

/** What a burn really used: CPU time, wall-clock time (longer when the thread had to share its core), and rounds. */
export type Burn = Readonly<{ cpuMs: number; tookMs: number; iterations: number }>

export type Burner = Readonly<{
  /** Measures this CPU's speed now, rather than in the first burn. Takes a few ms of CPU time. */
  calibrate: () => void
  /**
   * Uses `ms` milliseconds of CPU time on the calling thread, and blocks it meanwhile. It is CPU time, not wall-clock
   * time: a thread that is preempted, or throttled by its cgroup, still does the whole work. Ends early once
   * `stopped`, asked about every millisecond, says so.
   */
  burn: (ms: number, stopped?: () => boolean) => Burn
}>

/**
 * Makes a burner for one thread. It spins a number of rounds that the calibration says is short of what is left, reads
 * the thread's CPU time, corrects the speed, and goes on: so it is right also when the clock speed changes or another
 * thread takes half of the core.
 */
export const createBurner = (cpu: Cpu = threadCpu, nowMs: () => number = () => performance.now()): Burner => {
  let calibrated: number | undefined
  return {
    calibrate: () => {
      calibrated = calibrate(cpu)
    },
    burn: (ms, stopped = never) => {
      calibrated ??= calibrate(cpu)
      const startMs = nowMs()
      const spent = spend(ms, calibrated, { cpu, stopped })
      return { ...spent, tookMs: toMicrosecond(nowMs() - startMs) }
    },
  }
}

/** Measures how many rounds one millisecond of CPU time is: the median of several short measurements. */
export const calibrate = (cpu: Cpu): number => {
  const probes = Array.from({ length: calibrationProbes }, () => roundsPerMs(cpu, calibrationRounds))
  return probes.toSorted((a, b) => a - b)[calibrationProbes >> 1]!
}

/** Enough for the JIT to compile the loop within the first probes, few enough to take under 1 ms each. */
const calibrationRounds = 200_000
const calibrationProbes = 9

/** Says how long a stop can go unseen, and how old a speed can be. */
const longestChunkMs = 1

/** What is left after a burn at most; some ten times what it costs to look. */
const toleranceMs = 0.01

const never = (): boolean => false

const spend = (
  ms: number,
  calibrated: number,
  { cpu, stopped }: { cpu: Cpu; stopped: () => boolean },
): { cpuMs: number; iterations: number } => {
  const startMs = cpu.timeMs()
  let perMs = calibrated
  let cpuMs = 0
  let iterations = 0
  let unseen = 0
  while (ms - cpuMs > toleranceMs && !stopped()) {
    const rounds = chunk(ms - cpuMs, perMs)
    cpu.spin(rounds)
    iterations += rounds
    unseen += rounds
    const seenMs = cpu.timeMs() - startMs
    // Where clocks of threads tick coarsely, one tick covers several chunks.
    if (seenMs === cpuMs) continue
    perMs = unseen / (seenMs - cpuMs)
    cpuMs = seenMs
    unseen = 0
  }
  return { cpuMs: toMicrosecond(cpuMs), iterations }
}

/** Half of what is left: a core that became half as fast in between does not make the burn too long. */
const chunk = (leftMs: number, perMs: number): number =>
  Math.ceil(perMs * Math.min(longestChunkMs, Math.max(leftMs / 2, toleranceMs)))

const roundsPerMs = (cpu: Cpu, rounds: number): number => {
  const startMs = cpu.timeMs()
  let done = 0
  let spentMs = 0
  while (spentMs <= 0) {
    cpu.spin(rounds)
    done += rounds
    spentMs = cpu.timeMs() - startMs
  }
  return done / spentMs
}

/** Kept from one spin to the next, so that the compiler cannot prove the arithmetic useless and drop it. */
let state = 0x2545f491

/** The CPU under the calling thread. The arithmetic is xorshift32 (Marsaglia, "Xorshift RNGs", 2003). */
export const threadCpu: Cpu = {
  timeMs: () => {
    // Linux brings a running thread's CPU time up to date on each scheduler tick only (4 ms at 250 Hz), unless the
    // time of the whole process is asked for: kernel/sched/cputime.c, thread_group_cputime(). Both cost 1 µs.
    process.cpuUsage()
    const { user, system } = process.threadCpuUsage()
    return (user + system) / 1000
  },
  spin: (iterations) => {
    let x = state
    for (let i = 0; i < iterations; i++) {
      x ^= x << 13
      x ^= x >>> 17
      x ^= x << 5
    }
    state = x
  },
}
