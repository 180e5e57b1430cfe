// A list of any length, of which only the rows in sight are in the document. It has the keyboard of
// a grid: arrows, Page Up and Down, Home, End, Enter.

import { h, render } from './dom.js'

const ROW_PX = 32
const SPARE = 6
// Browsers cannot make an element higher than about 17 million pixels (Firefox), so a longer list
// is scrolled by its share.
const HEIGHT_MAX_PX = 12e6

export class List {
  // `row(index)` describes the cells of a row, or null while it is not known; `choose(index)`
  // and `isChosen(index)`; `seen(first, last)` is told what is in sight.
  constructor({ label, row, seen, choose, isChosen }) {
    Object.assign(this, { label, row, seen, choose, isChosen, length: 0, at: -1 })
    this.frame = 0
  }

  mount(host) {
    this.host = host
    // the page draws into the host, and the list into this
    this.space = document.createElement('div')
    set(this.space, 'class', 'space')
    set(this.space, 'role', 'rowgroup')
    host.append(this.space)
    host.onscroll = () => this.draw()
    host.onkeydown = (event) => this.onKey(event)
    new ResizeObserver(() => this.draw()).observe(host)
    this.draw()
  }

  draw() {
    this.frame ||= requestAnimationFrame(() => {
      this.frame = 0
      if (this.host?.isConnected) this.paint()
    })
  }

  get height() {
    return Math.min(this.length * ROW_PX, HEIGHT_MAX_PX)
  }

  // How many pixels of rows one pixel of the scroll bar stands for.
  get share() {
    const view = this.host.clientHeight
    return this.height > view ? (this.length * ROW_PX - view) / (this.height - view) : 1
  }

  paint() {
    const top = this.host.scrollTop,
      offset = top * this.share
    const first = Math.max(0, Math.floor(offset / ROW_PX) - SPARE)
    const last = Math.min(
      this.length,
      Math.ceil((offset + this.host.clientHeight) / ROW_PX) + SPARE,
    )
    this.seen?.(first, last)
    const rows = []
    for (let index = first; index < last; index++) {
      const cells = this.row(index) ?? [h('span', { role: 'gridcell', class: 'soft' }, '…')]
      rows.push(
        h(
          'div',
          {
            key: index % (last - first),
            role: 'row',
            id: `${this.label}-${index}`,
            class: `row${index === this.at ? ' at' : ''}`,
            'aria-rowindex': index + 1,
            'aria-selected': this.isChosen(index),
            onclick: () => this.pick(index),
            style: { transform: `translateY(${top + index * ROW_PX - offset}px)` },
          },
          cells,
        ),
      )
    }
    set(this.host, 'aria-rowcount', this.length)
    set(
      this.host,
      'aria-activedescendant',
      this.at >= first && this.at < last ? `${this.label}-${this.at}` : null,
    )
    this.space.style.setProperty('height', `${this.height}px`)
    render(this.space, rows)
  }

  pick(index) {
    this.at = index
    this.choose(index)
    this.draw()
  }

  reset() {
    this.at = -1
    if (this.host) this.host.scrollTop = 0
  }

  onKey(event) {
    const page = Math.max(1, Math.floor(this.host.clientHeight / ROW_PX) - 1)
    const steps = {
      ArrowDown: 1,
      ArrowUp: -1,
      PageDown: page,
      PageUp: -page,
      Home: -this.length,
      End: this.length,
    }
    if (event.key === 'Enter' && this.at >= 0) this.pick(this.at)
    else if (event.key in steps && this.length) this.move(steps[event.key])
    else return
    event.preventDefault()
  }

  move(step) {
    this.at = Math.min(this.length - 1, Math.max(0, this.at + step))
    const offset = this.host.scrollTop * this.share,
      view = this.host.clientHeight
    const top = this.at * ROW_PX
    if (top < offset) this.host.scrollTop = top / this.share
    else if (top + ROW_PX > offset + view) this.host.scrollTop = (top + ROW_PX - view) / this.share
    this.draw()
  }
}

function set(node, name, value) {
  if (value === null) node.removeAttribute(name)
  else node.setAttribute(name, value)
}
