// The members on a plane, where distances are round trips. Each datacenter is an island, since
// coordinates hold within a pool: islands stand side by side, with the round trip between them in
// words.

import { h } from './dom.js'
import { ms } from './format.js'

const WIDE = { width: 560, height: 300, names: 24 }
const NARROW = { width: 380, height: 360, names: 12 }
const NARROW_PX = 700
const EDGE = 34
const APART_PX = 30
const NAMED_PX = 80
const LETTER_PX = 6.8
const LINE_PX = 14
const STEPS = 80

const SHAPES = {
  alive: (x, y, more) => h('circle', { cx: x, cy: y, r: 7, ...more }),
  suspect: (x, y, more) => h('rect', { x: x - 6.5, y: y - 6.5, width: 13, height: 13, ...more }),
  dead: (x, y, more) => h('path', { d: `M${x} ${y - 9}l9 9 -9 9 -9 -9z`, ...more }),
  left: (x, y, more) => h('circle', { cx: x, cy: y, r: 5, ...more }),
}
export const DOTS = { alive: '', suspect: 'warn', dead: 'bad', left: 'gone' }

export function drawMap({ members, suspicions, datacenter }, choose) {
  const size = innerWidth < NARROW_PX ? NARROW : WIDE
  const few = members.length <= size.names
  const islands = islandsOf(members, datacenter, size, few)
  const at = new Map(islands.flatMap((island) => island.places))
  const edge = new Map(
    islands.flatMap(({ places, x, rx }) => places.map(([name]) => [name, x + rx])),
  )
  const label = `Map of ${members.length} members by round trips; the table below says the same`
  return h(
    'svg',
    { viewBox: `0 0 ${size.width} ${size.height}`, role: 'img', 'aria-label': label, class: 'map' },
    islands.map(drawIsland),
    islands.slice(1).map((island) => drawWay(islands[0], island)),
    suspicions.map(({ by, of, state }) =>
      drawSuspicion(at.get(by), at.get(of), `${by} holds ${of} for ${state}`),
    ),
    members
      .filter(({ name }) => at.has(name))
      .map((member) =>
        drawMember(
          member,
          at.get(member.name),
          few || isNamed(member),
          edge.get(member.name),
          choose,
        ),
      ),
  )
}

const isNamed = ({ self, state, same }) => self || state !== 'alive' || same === false

// One island for each datacenter, this node's first, with the place of each member.
function islandsOf(members, own, { width: all, height: high }, few) {
  const byDatacenter = new Map([[own, new Map()]])
  for (const member of members) {
    if (!byDatacenter.has(member.datacenter)) byDatacenter.set(member.datacenter, new Map())
    const known = byDatacenter.get(member.datacenter)
    if (!known.has(member.name) || member.pool === 'lan') known.set(member.name, member)
  }
  const groups = [...byDatacenter].filter(([, group]) => group.size)
  const weights = groups.map(([, group]) => Math.sqrt(group.size) + 1)
  const share = (all - 20 * (groups.length - 1)) / weights.reduce((sum, each) => sum + each, 0)
  let left = 0
  return groups.map(([name, group], index) => {
    const width = weights[index] * share
    const island = { name, x: left + width / 2, y: high / 2, rx: width / 2 - 4, ry: high / 2 - 18 }
    left += width + 20
    island.rtt = Math.min(
      ...[...group.values()].map((each) => each.rtt_ms ?? each.rtt_estimate_ms ?? Infinity),
    )
    island.places = placed([...group.values()], island, few)
    return island
  })
}

// The places of these members within an island: as they were measured, then moved apart until each
// can be seen.
function placed(members, { x, y, rx, ry }, few) {
  const known = members.filter((each) => each.place_ms)
  const middle = [0, 1].map(
    (axis) => known.reduce((sum, each) => sum + each.place_ms[axis], 0) / (known.length || 1),
  )
  const far = Math.max(
    1e-6,
    ...known.map((each) => Math.hypot(each.place_ms[0] - middle[0], each.place_ms[1] - middle[1])),
  )
  const wide = rx - EDGE,
    high = ry - EDGE
  const spots = members.map((member, index) => {
    const angle = index * 2.399963,
      out = 0.35 + 0.6 * ((index * 0.618) % 1)
    const [dx, dy] = member.place_ms
      ? member.place_ms.map((each, axis) => (each - middle[axis]) / far)
      : [out * Math.cos(angle), out * Math.sin(angle)]
    // on one line no name could be read
    return [member.name, [x + wide * dx, y + high * dy + ((index % 3) - 1) * LINE_PX]]
  })
  for (let step = 0; step < STEPS && spots.length > 1; step++)
    moveApart(spots, { x, y, wide, high }, few)
  return spots
}

// Names need more room beside a dot than above it.
function moveApart(spots, { x, y, wide, high }, few) {
  const room = Math.sqrt((2.4 * wide * high) / spots.length)
  const stretch = few ? Math.min(NAMED_PX, 2 * room) / APART_PX : 1
  const apart = Math.min(APART_PX, room / Math.sqrt(Math.max(1, stretch)))
  for (let i = 0; i < spots.length; i++)
    for (let j = i + 1; j < spots.length; j++) {
      const a = spots[i][1],
        b = spots[j][1]
      let dx = (b[0] - a[0]) / stretch,
        dy = b[1] - a[1]
      if (dx === 0 && dy === 0) [dx, dy] = [Math.cos(i + j), Math.sin(i + j)]
      const distance = Math.hypot(dx, dy),
        push = (apart - distance) / 2 / distance
      if (push <= 0) continue
      a[0] -= dx * push * stretch
      a[1] -= dy * push
      b[0] += dx * push * stretch
      b[1] += dy * push
    }
  for (const [, spot] of spots) {
    const out = Math.hypot((spot[0] - x) / wide, (spot[1] - y) / high)
    if (out <= 1) continue
    spot[0] = x + (spot[0] - x) / out
    spot[1] = y + (spot[1] - y) / out
  }
}

function drawIsland({ name, x, y, rx, ry }) {
  return [
    h('ellipse', { key: name, cx: x, cy: y, rx, ry, class: 'island' }),
    h('text', { key: name, x, y: y - ry + 18, 'text-anchor': 'middle' }, name),
  ]
}

function drawWay(one, other) {
  const from = one.x + one.rx - 14,
    to = other.x - other.rx + 14
  return [
    h('path', { key: `way ${other.name}`, d: `M${from} ${one.y}H${to}`, class: 'way' }),
    h(
      'text',
      { key: `way ${other.name}`, x: (from + to) / 2, y: one.y - 7, 'text-anchor': 'middle' },
      other.rtt === Infinity ? '' : ms(other.rtt),
    ),
  ]
}

const drawSuspicion = (from, to, words) =>
  from &&
  to &&
  h('path', { key: words, d: `M${from}L${to}`, class: 'suspicion' }, h('title', {}, words))

function drawMember(member, [x, y], hasName, edge, choose) {
  const { name, state, self } = member
  const shape = SHAPES[state] ?? SHAPES.alive
  const flip = x + 12 + name.length * LETTER_PX > edge
  return h(
    'g',
    {
      key: name,
      class: `member ${DOTS[state]}${self ? ' self' : ''}${member.gateway ? ' gateway' : ''}`,
      onclick: () => choose(name),
    },
    shape(x, y),
    h('title', {}, `${name}: ${state}, ${ms(member.rtt_ms ?? member.rtt_estimate_ms)}`),
    hasName &&
      h(
        'text',
        {
          class: 'name',
          x: flip ? x - 12 : x + 12,
          y: y + 4,
          'text-anchor': flip ? 'end' : 'start',
        },
        name,
      ),
  )
}
