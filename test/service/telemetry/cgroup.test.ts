import assert from 'node:assert/strict'
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { test, type TestContext } from 'node:test'
import { cgroupMetrics } from '../../../src/service/telemetry/cgroup.ts'

/** A file system with these files; returns what is told of it, without the beginning that all names have. */
const told = async (t: TestContext, files: Readonly<Record<string, string>>): Promise<Record<string, number>> => {
  const root = await mkdtemp(join(tmpdir(), 'plimsoll-cgroup-'))
  t.after(() => rm(root, { recursive: true }))
  for (const [path, text] of Object.entries(files)) {
    await mkdir(dirname(join(root, path)), { recursive: true })
    await writeFile(join(root, path), text)
  }
  const metrics = await cgroupMetrics(root)(0)
  return Object.fromEntries(
    Object.entries(metrics).map(([name, samples]) => [name.replace('plimsoll_cgroup_', ''), samples[0]!.value]),
  )
}

const under = (folder: string, files: Readonly<Record<string, string>>): Record<string, string> =>
  Object.fromEntries(Object.entries(files).map(([name, text]) => [`${folder}/${name}`, text]))

const version2 = {
  'cgroup.procs': '1\n',
  'cpu.max': '150000 100000\n',
  'cpu.stat':
    'usage_usec 12345678\nuser_usec 10000000\nsystem_usec 2345678\nnr_periods 200\nnr_throttled 17\n' +
    'throttled_usec 2500000\nnr_bursts 0\n',
  'cpu.pressure':
    'some avg10=1.00 avg60=0.50 avg300=0.10 total=7654321\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=99\n',
  'memory.current': '104857600\n',
  'memory.max': '268435456\n',
  'memory.stat': 'anon 50000000\nfile 40000000\ninactive_anon 1\ninactive_file 4857600\n',
  'memory.events': 'low 0\nhigh 0\nmax 3\noom 2\noom_kill 1\noom_group_kill 0\n',
}

const ofVersion2 = {
  cpu_limit_cores: 1.5,
  cpu_seconds_total: 12.345678,
  cpu_periods_total: 200,
  cpu_throttled_periods_total: 17,
  cpu_throttled_seconds_total: 2.5,
  cpu_pressure_seconds_total: 7.654321,
  memory_bytes: 100_000_000,
  memory_limit_bytes: 268_435_456,
  oom_kills_total: 1,
}

const mount = 'sys/fs/cgroup'
const controllers = { [`${mount}/cgroup.controllers`]: 'cpu memory\n' }

test('a container of cgroup v2 is told as its files say', async (t) => {
  const files = { ...under(mount, version2), ...controllers, 'proc/self/cgroup': '0::/\n' }
  assert.deepEqual(await told(t, files), ofVersion2)
})

test('without limits there are none, and all else is told', async (t) => {
  const files = { ...version2, 'cpu.max': 'max 100000\n', 'memory.max': 'max\n' }
  const { cpu_limit_cores: _cpu, memory_limit_bytes: _memory, ...rest } = ofVersion2
  assert.deepEqual(await told(t, { ...under(mount, files), ...controllers }), rest)
})

test('a process that sees more than its own group is told of its own', async (t) => {
  const files = {
    ...controllers,
    ...under(mount, { 'cgroup.procs': '', 'cpu.stat': 'usage_usec 999\n' }),
    ...under(`${mount}/system.slice/plimsoll.service`, version2),
    'proc/self/cgroup': '0::/system.slice/plimsoll.service\n',
  }
  assert.deepEqual(await told(t, files), ofVersion2)
})

test('a path that is not to be seen from inside the container is not followed', async (t) => {
  for (const path of ['/kubepods.slice/pod1', '/../../elsewhere']) {
    const elsewhere = under('sys/elsewhere', { 'cgroup.procs': '', 'memory.current': '1\n' })
    const files = { ...under(mount, version2), ...controllers, ...elsewhere, 'proc/self/cgroup': `0::${path}\n` }
    assert.deepEqual(await told(t, files), ofVersion2, path)
  }
})

const version1 = {
  'cpu/cgroup.procs': '1\n',
  'cpu/cpu.cfs_quota_us': '50000\n',
  'cpu/cpu.cfs_period_us': '100000\n',
  'cpu/cpu.stat': 'nr_periods 40\nnr_throttled 4\nthrottled_time 3500000000\n',
  'cpuacct/cpuacct.usage': '2500000000\n',
  'memory/memory.usage_in_bytes': '3000000\n',
  'memory/memory.limit_in_bytes': '9000000\n',
  'memory/memory.stat': 'cache 1\ninactive_file 5\ntotal_inactive_file 1000000\n',
  'memory/memory.oom_control': 'oom_kill_disable 0\nunder_oom 0\noom_kill 6\n',
}

const ofVersion1 = {
  cpu_limit_cores: 0.5,
  cpu_seconds_total: 2.5,
  cpu_periods_total: 40,
  cpu_throttled_periods_total: 4,
  cpu_throttled_seconds_total: 3.5,
  memory_bytes: 2_000_000,
  memory_limit_bytes: 9_000_000,
  oom_kills_total: 6,
}

const paths1 = '4:memory:/docker/1\n2:cpu,cpuacct:/docker/1\n1:name=systemd:/docker/1\n'

test('a container of cgroup v1 is told as its files say', async (t) => {
  assert.deepEqual(await told(t, { ...under(mount, version1), 'proc/self/cgroup': paths1 }), ofVersion1)
})

test('a process outside containers with cgroup v1 is told of its own group, controller by controller', async (t) => {
  const files = {
    ...under(mount, version1),
    ...under(`${mount}/memory/docker/1`, { 'cgroup.procs': '', 'memory.usage_in_bytes': '5\n' }),
    'proc/self/cgroup': paths1,
  }
  const { memory_limit_bytes: _limit, oom_kills_total: _kills, ...rest } = ofVersion1
  assert.deepEqual(await told(t, files), { ...rest, memory_bytes: 5 })
})

test('cgroup v1 without limits has none', async (t) => {
  const unlimited = {
    ...version1,
    'cpu/cpu.cfs_quota_us': '-1\n',
    'memory/memory.limit_in_bytes': '9223372036854771712\n',
  }
  const { cpu_limit_cores: _cpu, memory_limit_bytes: _memory, ...rest } = ofVersion1
  assert.deepEqual(await told(t, under(mount, unlimited)), rest)
})

test('where there are no control groups nothing is told', async (t) => {
  assert.deepEqual(await told(t, { 'etc/hostname': 'mac\n' }), {})
})
