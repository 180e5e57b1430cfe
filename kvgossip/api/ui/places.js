// The places of members within an island of the map: as they were measured, then moved apart until
// each can be seen. They are reckoned once for each answer of the node, and not for each drawing.

const EDGE_PX = 34
const TOP_PX = 22
const APART_PX = 30
const NAMED_PX = 80
const LINE_PX = 14
const STEPS = 80
const PAIRS = 600_000
const MOST = 0.95

const known = new WeakMap()

// [name, [x, y]] of each. `few`: each is to have its name beside it.
export function placesOf(members, { x, y, rx, ry }, few) {
  const frame = [x, y, rx, ry, few].join()
  const before = known.get(members[0])
  if (before?.frame === frame) return before.places
  const places = placed(members, { x, y, rx, ry }, few)
  known.set(members[0], { frame, places })
  return places
}

function placed(members, { x, y: middleOf, rx, ry }, few) {
  // the name of the island stands above
  const y = middleOf + TOP_PX / 2
  const wide = Math.max(rx - EDGE_PX, rx / 2),
    high = Math.max(ry - EDGE_PX - TOP_PX / 2, ry / 2)
  const measured = members.filter((each) => each.place_ms)
  const middle = [0, 1].map(
    (axis) => measured.reduce((sum, each) => sum + each.place_ms[axis], 0) / (measured.length || 1),
  )
  const distances = measured
    .map((each) => Math.hypot(each.place_ms[0] - middle[0], each.place_ms[1] - middle[1]))
    .sort((a, b) => a - b)
  // one that is far away leaves the others their room
  const far = Math.max(1e-6, distances[Math.floor(MOST * (distances.length - 1))] ?? 0)
  const spots = members.map((member, index) => {
    const angle = index * 2.399963,
      out = 0.35 + 0.6 * ((index * 0.618) % 1)
    const [dx, dy] = member.place_ms
      ? member.place_ms.map((each, axis) => (each - middle[axis]) / far)
      : [out * Math.cos(angle), out * Math.sin(angle)]
    // on one line no name could be read
    return [member.name, [x + wide * dx, y + high * dy + ((index % 3) - 1) * LINE_PX]]
  })
  const steps = Math.min(STEPS, Math.ceil(PAIRS / Math.max(1, spots.length ** 2 / 2)))
  for (let step = 0; step < steps && spots.length > 1; step++)
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
