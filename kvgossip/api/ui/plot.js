// A plot of the last hour: one or two lines over the same time, with its unit, its greatest value,
// and under the pointer or the arrow keys the value of one moment.

import { h } from './dom.js'
import { bytes, clock, number } from './format.js'

const WIDTH = 560,
  HEIGHT = 150
const LEFT = 60,
  RIGHT = 8,
  TOP = 12,
  BOTTOM = 22
const GRID = 2
const LINES = ['accent', 'second']

// A value with its unit.
export function withUnit(value, unit) {
  if (value == null) return '–'
  if (unit === 'B' || unit === 'B/s') return bytes(value) + unit.slice(1)
  if (unit === 's' && value < 1 && value > 0)
    return `${number(Number((value * 1000).toPrecision(3)))} ms`
  const rounded = value >= 100 ? Math.round(value) : Number(value.toPrecision(3))
  return unit === '1/s' ? `${number(rounded)} /s` : `${number(rounded)} ${unit}`.trim()
}

// The least of 1, 2, 4, 6, 8, 10, 20 … that is not below it; of nothing, one.
function roof(value) {
  const power = 10 ** Math.floor(Math.log10(value || 1) + 1e-9)
  return [1, 2, 4, 6, 8, 10].map((each) => each * power).find((each) => each >= value)
}

export class Plot {
  // `lines`: [name in words, name of the series] for each.
  constructor({ title, about, lines, changed }) {
    Object.assign(this, { title, about, lines, changed, at: null })
  }

  draw({ series, step_s: step, until_ms: until, points }) {
    const drawn = this.lines.filter(([, name]) => series[name])
    const values = drawn.map(([, name]) => series[name].values)
    const length = values[0]?.length ?? 0
    if (!length) return null
    const unit = series[drawn[0][1]].unit
    const most = roof(Math.max(0, ...values.flat().filter((each) => each !== null)))
    const wide = WIDTH - LEFT - RIGHT,
      high = HEIGHT - TOP - BOTTOM
    const x = (index) => LEFT + wide * (1 - (length - 1 - index) / Math.max(points - 1, 1))
    const y = (value) => TOP + high * (1 - value / most)
    const at = Math.min(this.at ?? length - 1, length - 1)
    const momentMs = until - (length - 1 - at) * step * 1000
    const now = drawn
      .map(
        ([words], line) =>
          `${this.lines.length > 1 ? `${words} ` : ''}${withUnit(values[line][at], unit)}`,
      )
      .join(', ')
    const choose = (event) =>
      this.choose(event, (place) => Math.round(length - 1 - (1 - place) * (points - 1)), length)
    return h(
      'section',
      { key: this.title, class: 'panel plot' },
      h('h2', {}, this.title, h('small', {}, this.about)),
      h(
        'p',
        { class: 'value' },
        now,
        h('small', { class: 'soft' }, this.at === null ? ' now' : ` at ${clock(momentMs)}`),
      ),
      h(
        'svg',
        {
          viewBox: `0 0 ${WIDTH} ${HEIGHT}`,
          role: 'img',
          tabindex: 0,
          'aria-label': `${this.title}: ${now}; most ${withUnit(most, unit)}`,
          onpointermove: choose,
          onpointerleave: () => this.set(null),
          onkeydown: (event) => this.onKey(event, length),
        },
        Array.from({ length: GRID + 1 }, (_, index) => (most * index) / GRID).map(
          (value, index) => [
            h('path', {
              key: `grid ${index}`,
              d: `M${LEFT} ${y(value)}H${WIDTH - RIGHT}`,
              class: 'grid',
            }),
            h(
              'text',
              { key: `scale ${index}`, x: LEFT - 6, y: y(value) + 4, 'text-anchor': 'end' },
              withUnit(value, unit.length > 3 ? '' : unit),
            ),
          ],
        ),
        values.map((line, index) =>
          h('path', {
            key: `line ${index}`,
            d: pathOf(line, x, y),
            class: `curve ${LINES[index]}`,
          }),
        ),
        this.at !== null &&
          h('path', { key: 'at', d: `M${x(at)} ${TOP}V${HEIGHT - BOTTOM}`, class: 'at' }),
        h(
          'text',
          { key: 'since', x: LEFT, y: HEIGHT - 5 },
          clock(until - (points - 1) * step * 1000),
        ),
        h('text', { key: 'now', x: WIDTH - RIGHT, y: HEIGHT - 5, 'text-anchor': 'end' }, 'now'),
      ),
      drawn.length > 1 &&
        h(
          'p',
          { class: 'legend' },
          drawn.map(([words], index) =>
            h('span', { key: words }, h('i', { class: `curve ${LINES[index]}` }), words),
          ),
        ),
    )
  }

  choose(event, indexOf, length) {
    const box = event.currentTarget.getBoundingClientRect()
    const place = (((event.clientX - box.left) / box.width) * WIDTH - LEFT) / (WIDTH - LEFT - RIGHT)
    this.set(Math.max(0, Math.min(length - 1, indexOf(place))))
  }

  onKey(event, length) {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key]
    if (event.key === 'Escape') this.set(null)
    else if (step) this.set(Math.max(0, Math.min(length - 1, (this.at ?? length - 1) + step)))
    else return
    event.preventDefault()
  }

  set(at) {
    if (at === this.at) return
    this.at = at
    this.changed()
  }
}

// A line with a gap wherever a value is not known; a point by itself is a dot.
function pathOf(values, x, y) {
  let path = '',
    pen = 'M'
  values.forEach((value, index) => {
    if (value === null) pen = 'M'
    else {
      path += `${pen}${x(index).toFixed(1)} ${y(value).toFixed(1)}${pen === 'M' ? 'h0' : ''}`
      pen = 'L'
    }
  })
  return path || 'M0 0'
}
