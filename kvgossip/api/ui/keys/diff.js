// What differs between two texts, line by line: a longest common subsequence between the lines that
// are the same at both ends.

import { h } from '../dom.js'

const CELLS_MAX = 4e6
const CONTEXT = 3

// [sign, line] for each line: ' ' in both, '-' in the first one alone, '+' in the second.
export function diff(one, other) {
  const a = one.split('\n'),
    b = other.split('\n')
  let head = 0,
    tail = 0
  while (head < Math.min(a.length, b.length) && a[head] === b[head]) head++
  while (tail < Math.min(a.length, b.length) - head && a.at(-1 - tail) === b.at(-1 - tail)) tail++
  const same = (line) => [' ', line]
  return [
    ...a.slice(0, head).map(same),
    ...between(a.slice(head, a.length - tail), b.slice(head, b.length - tail)),
    ...a.slice(a.length - tail).map(same),
  ]
}

function between(a, b) {
  if (a.length * b.length > CELLS_MAX) return [...a.map((x) => ['-', x]), ...b.map((x) => ['+', x])]
  const width = b.length + 1,
    common = new Uint32Array((a.length + 1) * width)
  for (let i = a.length - 1; i >= 0; i--)
    for (let j = b.length - 1; j >= 0; j--)
      common[i * width + j] =
        a[i] === b[j]
          ? common[(i + 1) * width + j + 1] + 1
          : Math.max(common[(i + 1) * width + j], common[i * width + j + 1])
  const found = []
  let i = 0
  let j = 0
  while (i < a.length || j < b.length) {
    if (i < a.length && j < b.length && a[i] === b[j]) {
      found.push([' ', a[i++]])
      j++
    } else if (
      j === b.length ||
      (i < a.length && common[(i + 1) * width + j] >= common[i * width + j + 1])
    )
      found.push(['-', a[i++]])
    else found.push(['+', b[j++]])
  }
  return found
}

// The lines that differ, with some around them.
export function drawDiff(one, other) {
  const lines = diff(one, other)
  const near = (index) =>
    lines.slice(Math.max(0, index - CONTEXT), index + CONTEXT + 1).some(([sign]) => sign !== ' ')
  if (lines.every(([sign]) => sign === ' ')) return h('p', { class: 'soft' }, 'They are the same.')
  return h(
    'pre',
    { class: 'diff', tabindex: 0, 'aria-label': 'What differs' },
    lines.map(
      ([sign, line], index) =>
        near(index) &&
        h(sign === '-' ? 'del' : sign === '+' ? 'ins' : 'div', {}, `${sign} ${line}`),
    ),
  )
}
