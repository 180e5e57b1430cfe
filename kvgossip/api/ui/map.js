// The members on a plane, where distances are round trips. Each datacenter is an island, since
// coordinates hold within a pool: islands stand side by side, each with the round trip to it.

import { h } from './dom.js'
import { ms } from './format.js'
import { namesIn } from './names.js'
import { placesOf } from './places.js'

const WIDE = { width: 560, height: 300, names: 24 }
const NARROW = { width: 380, height: 360, names: 12 }
const NARROW_PX = 700
const CROWD = 60
const CROWD_PX = 120
const GAP_PX = 20
const ISLAND_PX = 80
const LINES_MAX = 60

const SHAPES = {
  alive: (x, y, r) => h('circle', { cx: x, cy: y, r }),
  suspect: (x, y, r) => h('rect', { x: x - r, y: y - r, width: 2 * r, height: 2 * r }),
  dead: (x, y, r) => h('path', { d: `M${x} ${y - r}l${r} ${r} -${r} ${r} -${r} -${r}z` }),
  left: (x, y, r) => h('circle', { cx: x, cy: y, r: 0.7 * r }),
}
export const DOTS = { alive: '', suspect: 'warn', dead: 'bad', left: 'gone' }
const RADIUS_PX = 7,
  SMALL_PX = 5

export function drawMap({ members, suspicions, datacenter }, choose) {
  const { width, height, names } = innerWidth < NARROW_PX ? NARROW : WIDE
  const crowded = members.length > CROWD
  const size = { width, height: crowded ? height + CROWD_PX : height }
  const few = members.length <= names
  const islands = islandsOf(members, datacenter, size, few)
  const at = new Map(islands.flatMap((island) => island.places))
  // those that one looks for lie over the others
  const shown = members
    .filter(({ name }) => at.has(name))
    .sort((a, b) => isNamed(a) - isNamed(b))
  const doubts = doubtsOf(members, suspicions, at)
  const ends = new Set(doubts.flatMap(({ by, of }) => [by, of]))
  const radius = crowded ? SMALL_PX : RADIUS_PX
  const named = shown
    .filter((each) => few || isNamed(each) || ends.has(each.name))
    .sort((a, b) => order(a) - order(b))
  const label = `Map of ${members.length} members by round trips; the table below says the same`
  return h(
    'svg',
    {
      viewBox: `0 0 ${size.width} ${size.height}`,
      role: 'img',
      'aria-label': label,
      class: 'map',
    },
    islands.map(drawIsland),
    islands.length === 2 && drawWay(...islands),
    doubts.map((each) => drawDoubt(each, at)),
    shown.map((member) => drawMember(member, at.get(member.name), radius, choose)),
    namesIn(named.map(({ name }) => name), at, size),
  )
}

const isNamed = ({ self, state, same }) =>
  self || state === 'dead' || state === 'suspect' || (state === 'alive' && same === false)
const ORDER = { dead: 1, suspect: 2, alive: 3, left: 4 }
const order = ({ self, state }) => (self ? 0 : ORDER[state])

// One island for each datacenter, this node's first, with the place of each member.
function islandsOf(members, own, { width: all, height: high }, few) {
  const byDatacenter = new Map([[own, new Map()]])
  for (const member of members) {
    if (!byDatacenter.has(member.datacenter)) byDatacenter.set(member.datacenter, new Map())
    const known = byDatacenter.get(member.datacenter)
    if (!known.has(member.name) || member.pool === 'lan') known.set(member.name, member)
  }
  const groups = [...byDatacenter].filter(([, group]) => group.size)
  const room = all - GAP_PX * (groups.length - 1)
  const least = Math.min(ISLAND_PX, (0.6 * room) / groups.length)
  const most = Math.max(...groups.map(([, group]) => group.size))
  const weights = groups.map(([, group]) => Math.sqrt(group.size))
  const share = (room - least * groups.length) / weights.reduce((sum, each) => sum + each, 0)
  let left = 0
  return groups.map(([name, group], index) => {
    const width = least + weights[index] * share
    const rx = width / 2 - 4,
      ry = (high / 2 - 4) * Math.max(0.5, (group.size / most) ** 0.25)
    const island = { name, x: left + width / 2, y: high / 2, rx, ry }
    left += width + GAP_PX
    const there = [...group.values()]
    island.rtt = Math.min(...there.map((each) => each.rtt_ms ?? each.rtt_estimate_ms ?? Infinity))
    island.places = placesOf(there, island, few)
    island.away = index > 0 && island.rtt < Infinity
    return island
  })
}

function drawIsland({ name, x, y, rx, ry, rtt, away }) {
  return [
    h('ellipse', { key: name, cx: x, cy: y, rx, ry, class: 'island' }),
    h(
      'text',
      { key: name, x, y: y - ry + 20, 'text-anchor': 'middle' },
      away ? `${name}, ${ms(rtt)}` : name,
    ),
  ]
}

function drawWay(one, other) {
  const from = one.x + one.rx - 14,
    to = other.x - other.rx + 14
  return h('path', { key: 'way', d: `M${from} ${one.y}H${to}`, class: 'way' })
}

// Suspicions of those whom this node takes for alive: what all know is no line.
function doubtsOf(members, suspicions, at) {
  const alive = new Set(members.filter(({ state }) => state === 'alive').map(({ name }) => name))
  return suspicions
    .filter(({ by, of }) => alive.has(of) && at.has(by) && at.has(of))
    .slice(0, LINES_MAX)
}

function drawDoubt({ by, of, state }, at) {
  const words = `${by} holds ${of} for ${state}`
  const d = `M${at.get(by)}L${at.get(of)}`
  return h('path', { key: words, d, class: 'suspicion' }, h('title', {}, words))
}

function drawMember(member, [x, y], radius, choose) {
  const { name, state, self } = member
  return h(
    'g',
    {
      key: name,
      class: `member ${DOTS[state]}${self ? ' self' : ''}${member.gateway ? ' gateway' : ''}`,
      onclick: () => choose(name),
    },
    (SHAPES[state] ?? SHAPES.alive)(x, y, state === 'dead' ? radius + 2 : radius),
    h('title', {}, `${name}: ${state}, ${ms(member.rtt_ms ?? member.rtt_estimate_ms)}`),
  )
}
