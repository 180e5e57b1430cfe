// Names beside the dots of the map: each where it hides no other name and few dots; who finds no
// such place goes without one, as the table says all of them.

import { h } from './dom.js'

const LETTER_PX = 6.9
const HIGH_PX = 13
const BESIDE_PX = 12
const DOT_PX = 5

// The names, those that matter most first. `at`: the places of all members.
export function namesIn(names, at, { width, height }) {
  const taken = []
  const dots = [...at.values()]
  return names.map((name) => {
    const [x, y] = at.get(name)
    const best = sides(x, y, name.length * LETTER_PX)
      .filter(({ box }) => isWithin(box, width, height) && !taken.some((each) => meet(each, box)))
      .map((side) => ({ ...side, hidden: dots.filter((dot) => hides(side.box, dot)).length }))
      .sort((a, b) => a.hidden - b.hidden)[0]
    if (!best) return null
    taken.push(best.box)
    return h(
      'text',
      { key: name, class: 'name', x: best.x, y: best.y, 'text-anchor': best.anchor },
      name,
    )
  })
}

function sides(x, y, length) {
  const side = (left, middle, anchor, textX) => ({
    box: { left, right: left + length, top: middle - HIGH_PX / 2, bottom: middle + HIGH_PX / 2 },
    x: textX,
    y: middle + 4,
    anchor,
  })
  return [
    side(x + BESIDE_PX, y, 'start', x + BESIDE_PX),
    side(x - BESIDE_PX - length, y, 'end', x - BESIDE_PX),
    side(x - length / 2, y + BESIDE_PX + 4, 'middle', x),
    side(x - length / 2, y - BESIDE_PX - 4, 'middle', x),
  ]
}

const isWithin = ({ left, right, top, bottom }, width, height) =>
  left >= 0 && right <= width && top >= 0 && bottom <= height

const meet = (a, b) =>
  a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom

const hides = ({ left, right, top, bottom }, [x, y]) =>
  x > left - DOT_PX && x < right + DOT_PX && y > top - DOT_PX && y < bottom + DOT_PX
