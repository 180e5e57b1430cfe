// The exchanges of the last minutes, a line for each peer: when, how long, how much, and whether
// anything differed.

import { h } from './dom.js'
import { ago, ageOf, byName, bytes, clock, count, ms, number } from './format.js'

export const SPAN_S = 300
const WIDE = { width: 1140, left: 120, minutes: [5, 4, 3, 2, 1, 0] }
const NARROW = { width: 380, left: 74, minutes: [4, 2, 0] }
const NARROW_PX = 700
const RIGHT = 10
const ROW = 42,
  TOP = 8,
  BOTTOM = 20
const LEAST_PX = 5,
  LOW_PX = 7,
  HIGH_PX = 28
const ROWS_MAX = 16

export function drawExchanges(exchanges, now) {
  const recent = exchanges.filter((each) => now - each.at_ms < SPAN_S * 1000)
  if (!recent.length) return h('p', { class: 'empty' }, 'None in the last 5 minutes.')
  const all = [...new Set(recent.map((each) => each.peer).reverse())]
  const peers = all.slice(0, ROWS_MAX).sort(byName)
  const { width, left, minutes } = innerWidth < NARROW_PX ? NARROW : WIDE
  const height = TOP + peers.length * ROW + BOTTOM
  const most = Math.max(...recent.map((each) => each.bytes), 1)
  const found = recent.filter((each) => each.found > 0)
  const wide = (width - left - RIGHT) / (SPAN_S * 1000)
  const x = (atMs) => width - RIGHT - (now - atMs) * wide
  const differed = `of which ${found.length} found differences`
  const label = `${count(recent.length, 'exchange')} in 5 minutes, ${differed}`
  return h(
    'div',
    { class: 'scroll', tabindex: 0, role: 'region', 'aria-label': 'Exchanges by time' },
    h(
      'svg',
      { viewBox: `0 0 ${width} ${height}`, role: 'img', 'aria-label': label, class: 'exchanges' },
      peers.map((peer, row) => {
        const base = TOP + row * ROW + ROW - 8
        return h(
          'g',
          { key: peer },
          h('text', { x: 6, y: base - 4, class: 'name' }, peer),
          h('path', { d: `M${left} ${base}H${width - RIGHT}`, class: 'grid' }),
          recent
            .filter((each) => each.peer === peer)
            .map((each) => drawOne(each, x, { wide, left, base, most })),
        )
      }),
      minutes.map((each) =>
        h(
          'text',
          {
            key: each,
            x: x(now - each * 60_000),
            y: height - 4,
            'text-anchor': each === 5 ? 'start' : each ? 'middle' : 'end',
          },
          each ? `${each} min ago` : 'now',
        ),
      ),
    ),
    all.length > ROWS_MAX &&
      h('p', { class: 'soft' }, `The last ${ROWS_MAX} of ${number(all.length)} members.`),
  )
}

function drawOne(each, x, { wide, left, base, most }) {
  const { at_ms: end, took_ms: took, bytes: size, found, outcome } = each
  const width = Math.max(LEAST_PX, took * wide)
  const height = found ? LOW_PX + (HIGH_PX - LOW_PX) * Math.sqrt(size / most) : LOW_PX
  return h(
    'rect',
    {
      key: `${end} ${each.trips} ${took}`,
      x: Math.max(left, x(end) - width),
      y: base - height,
      width,
      height,
      rx: 2,
      class: `exchange${found ? ' found' : ''}${outcome === 'cut' ? ' cut' : ''}`,
    },
    h('title', {}, wordsOf(each)),
  )
}

const foundWords = (found) =>
  found ? `${count(found, 'entry', 'entries')} differed` : 'nothing differed'

export function wordsOf({ at_ms: atMs, peer, took_ms: took, bytes: size, trips, found, outcome }) {
  const brought = found ? `, ${bytes(size)}` : ''
  const end = outcome === 'cut' ? ', cut off' : ''
  const way = `${clock(atMs)} with ${peer}: ${ms(took)}, ${count(trips, 'round trip')}`
  return `${way}, ${foundWords(found)}${brought}${end}`
}

export function lastWith(exchanges, peer) {
  const last = exchanges.findLast((each) => each.peer === peer)
  return last && `${ago(ageOf(last.at_ms))}, ${foundWords(last.found)}`
}
