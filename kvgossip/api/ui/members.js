// What is known of members, in words: figures for all, a table, and the facts of one.

import { h } from './dom.js'
import { ago, byName, count, duration, ms, number, signedMs } from './format.js'
import { DOTS } from './map.js'

const RANKS = { dead: 0, suspect: 1, alive: 3, left: 4 }

// Those to look at first.
export const ranked = (members) => {
  const rank = (each) =>
    RANKS[each.state] +
    (each.state === 'alive' && each.same === false ? -1 : 0) +
    (each.self ? 0.5 : 0)
  return [...members].sort((a, b) => rank(a) - rank(b) || byName(a.name, b.name))
}

export function dataOf({ same, differs_by: keys, precision, unequal_s: since }) {
  if (same == null) return 'unknown'
  if (same) return 'same'
  const about = { exact: '', estimate: 'about ', at_least: 'at least ' }[precision] ?? ''
  const words =
    keys == null ? 'differs' : `${about}${count(keys, 'key')} ${keys === 1 ? 'differs' : 'differ'}`
  return since == null ? words : `${words}, for ${duration(since)}`
}

// The figures that one looks at first, each with what stands behind it.
export function tilesOf({ members, keys, age_s: age }) {
  const gone = members.filter((each) => each.state === 'dead'),
    lost = members.filter((each) => each.state === 'suspect')
  const there = members.filter((each) => each.state === 'alive')
  const reached = there.length + lost.length
  const same = members.filter((each) => each.same).length,
    other = members.filter((each) => each.same === false)
  const widest = (name) =>
    there.reduce(
      (most, each) => (Math.abs(each[name] ?? 0) > Math.abs(most?.[name] ?? 0) ? each : most),
      null,
    )
  const far = widest('rtt_ms'),
    skewed = widest('clock_offset_ms'),
    late = widest('lag_p99_ms')
  const waiting = members.reduce(
    (most, each) =>
      (each.said?.tombstones_waiting ?? 0) > (most?.said?.tombstones_waiting ?? 0) ? each : most,
    null,
  )
  const left = members.filter((each) => each.state !== 'left').length
  const tile = (name, value, of, words) =>
    h(
      'div',
      { key: name, class: 'tile' },
      h('span', {}, name),
      h('strong', {}, value, of && h('small', {}, of)),
      h('em', {}, words),
    )
  return [
    tile(
      'Members',
      number(there.length),
      `of ${number(left)}`,
      [
        gone.length && `${number(gone.length)} dead`,
        lost.length && `${number(lost.length)} suspect`,
      ]
        .filter(Boolean)
        .join(', ') || `all alive, ${ago(age)}`,
    ),
    tile(
      'Same data',
      number(same),
      `of ${number(reached)}`,
      other.length ? `${other[0].name}: ${dataOf(other[0])}` : `asked ${ago(age)}`,
    ),
    tile('Keys', number(keys), 'keys', `on this node, ${ago(age)}`),
    tile(
      'Round trip',
      far ? ms(far.rtt_ms) : '–',
      null,
      far ? `to ${far.name}, the furthest` : 'not measured yet',
    ),
    tile(
      'Clocks',
      skewed ? signedMs(skewed.clock_offset_ms) : '–',
      null,
      skewed ? `${skewed.name}, the widest` : 'all as this one',
    ),
    tile(
      'Lag',
      late ? ms(late.lag_p99_ms) : '–',
      null,
      late ? `what ${late.name} writes, 99 of 100` : 'nobody else has written lately',
    ),
    tile(
      'Tombstones waiting',
      number(waiting?.said.tombstones_waiting ?? 0),
      null,
      waiting
        ? `on ${waiting.name}, for ${waiting.said.waits_for.slice(0, 2).join(', ') || 'a moment'}`
        : 'for nobody',
    ),
  ]
}

// Of the table of members.
export const COLUMNS = [
  {
    name: 'Name',
    by: (each) => each.name,
    cell: (each) => [each.name, each.self && h('small', { class: 'soft' }, ' this node')],
  },
  {
    name: 'State',
    by: (each) => RANKS[each.state],
    words: ({ state, gateway, blocked }) =>
      [state, gateway && 'gateway', blocked && 'blocked'].filter(Boolean).join(' '),
    cell: (each) => [
      h('i', { class: `dot ${DOTS[each.state]}` }),
      each.state,
      each.gateway && ', gateway',
      each.blocked && ', blocked',
    ],
  },
  {
    name: 'Zone',
    by: (each) => `${each.datacenter}/${each.zone}`,
    cell: (each) => [each.datacenter, each.zone && ` / ${each.zone}`],
  },
  {
    name: 'Address',
    by: (each) => each.addresses[0],
    cell: (each) => h('span', { class: 'mono' }, each.addresses[0]),
  },
  {
    name: 'Round trip',
    number: true,
    by: (each) => each.rtt_ms ?? each.rtt_estimate_ms,
    cell: (each) => ms(each.rtt_ms ?? each.rtt_estimate_ms),
  },
  {
    name: 'Clock',
    number: true,
    by: (each) => each.clock_offset_ms,
    cell: (each) => signedMs(each.clock_offset_ms),
  },
  {
    name: 'Lag',
    number: true,
    by: (each) => each.lag_p99_ms,
    cell: (each) => ms(each.lag_p99_ms),
  },
  { name: 'Data', by: (each) => each.differs_by, words: dataOf, cell: dataOf },
  {
    name: 'Version',
    by: (each) => each.said?.version,
    cell: (each) => h('span', { class: 'mono' }, each.said?.version ?? '–'),
  },
  { name: 'Heard', number: true, by: (each) => each.age_s, cell: (each) => ago(each.age_s) },
]

// How sure its silence makes that it is gone.
const silence = (phi) =>
  phi < 1 ? 'as usual' : `so long only one time in ${number(Math.round(10 ** Math.min(phi, 9)))}`

// All that is known of one, by name; empty ones are left out.
export function factsOf({ said, addresses, http, pool, zone, datacenter, ...lag }) {
  const list = (names) => names?.join(', ')
  return {
    Place: `${datacenter}${zone ? ` / ${zone}` : ''}, ${pool} pool`,
    Addresses: list(addresses),
    HTTP: http,
    Lag:
      lag.lag_p50_ms == null
        ? ''
        : `${ms(lag.lag_p50_ms)} for half of what it writes, ${ms(lag.lag_p99_ms)} for 99 of 100`,
    Silence: lag.phi == null ? '' : `phi ${lag.phi.toFixed(1)}: ${silence(lag.phi)}`,
    Standing: said?.standing,
    'Not ready': said?.not_ready.map((each) => each.text).join('; '),
    Overload: said?.overload,
    Keys: said && count(said.keys, 'key'),
    Suspects: list(said?.suspects),
    Dead: list(said?.dead),
    'Lost at once': list(said?.lost),
    'Keyring ids': said && (list(said.keyring) || 'no keyring'),
    Tokens: said?.tokens,
    Blocks: list(said?.blocked),
    'Tombstones waiting': said?.tombstones_waiting
      ? `${number(said.tombstones_waiting)}, for ${list(said.waits_for)}`
      : '',
    Quarantined: said?.quarantined ? count(said.quarantined, 'value') : '',
  }
}
