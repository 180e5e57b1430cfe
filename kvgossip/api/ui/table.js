// Tables, sorted by a column that one chooses; before that, in the order of their rows. Of a long
// one the first rows are shown, and a field finds others.

import { h } from './dom.js'
import { byName, count, number } from './format.js'

const ROWS_MAX = 50

export class Table {
  // Columns: {name, cell(row), by(row) for sorting, words(row) for finding, else what it is sorted
  // by}; `number` stands right, `long` may take lines.
  constructor({ label, columns, changed, key, chosen, choose }) {
    Object.assign(this, {
      label,
      columns,
      changed,
      key,
      chosen,
      choose,
      sorted: null,
      falling: false,
      text: '',
      all: false,
    })
  }

  sort(name) {
    if (this.sorted !== name) Object.assign(this, { sorted: name, falling: false })
    else if (!this.falling) this.falling = true
    else this.sorted = null
    this.changed()
  }

  inOrder(rows) {
    const column = this.columns.find((each) => each.name === this.sorted)
    if (!column) return rows
    const turn = this.falling ? -1 : 1
    const known = (row) => column.by(row) ?? (this.falling ? -Infinity : Infinity)
    return [...rows].sort((a, b) => turn * compare(known(a), known(b)))
  }

  has(row, text) {
    const words = this.columns.map(({ words, by }) => words?.(row) ?? by?.(row) ?? '')
    return words.join(' ').toLowerCase().includes(text)
  }

  draw(rows) {
    if (rows.length <= ROWS_MAX) return this.drawRows(rows)
    const text = this.text.trim().toLowerCase()
    const found = text ? rows.filter((row) => this.has(row, text)) : rows
    return h(
      'div',
      { key: this.label },
      h(
        'div',
        { class: 'line filter' },
        h('input', {
          type: 'search',
          value: this.text,
          placeholder: 'Rows that contain …',
          'aria-label': `${this.label}: rows that contain`,
          autocomplete: 'off',
          oninput: (event) => this.find(event.target.value),
        }),
        h('span', { class: 'soft', role: 'status' }, text && `${number(found.length)} found`),
      ),
      this.drawRows(found, this.all ? found.length : ROWS_MAX),
      !this.all &&
        found.length > ROWS_MAX &&
        h(
          'button',
          { class: 'plain', onclick: () => this.showAll() },
          `Show ${count(found.length - ROWS_MAX, 'more row')}`,
        ),
    )
  }

  find(text) {
    this.text = text
    this.changed()
  }

  showAll() {
    this.all = true
    this.changed()
  }

  drawRows(rows, most = rows.length) {
    return h(
      'div',
      { key: 'rows', class: 'scroll', tabindex: 0, role: 'region', 'aria-label': this.label },
      h(
        'table',
        {},
        h(
          'thead',
          {},
          h(
            'tr',
            {},
            this.columns.map((column) => this.head(column)),
          ),
        ),
        h(
          'tbody',
          {},
          this.inOrder(rows)
            .slice(0, most)
            .map((row) => this.row(row)),
        ),
      ),
    )
  }

  head({ name, number, by }) {
    const order = this.sorted !== name ? 'none' : this.falling ? 'descending' : 'ascending'
    const arrow = { none: '', ascending: ' ↑', descending: ' ↓' }[order]
    return h(
      'th',
      { scope: 'col', class: number ? 'n' : null, 'aria-sort': by ? order : null },
      by ? h('button', { class: 'head', onclick: () => this.sort(name) }, name + arrow) : name,
    )
  }

  row(row) {
    const key = this.key(row)
    return h(
      'tr',
      { key, class: key === this.chosen?.() ? 'at' : null },
      this.columns.map((column, index) =>
        h(
          'td',
          { class: column.number ? 'n' : column.long ? 'long' : null },
          index === 0 && this.choose
            ? h(
                'button',
                {
                  class: 'plain mono',
                  'aria-pressed': key === this.chosen(),
                  onclick: () => this.choose(key),
                },
                column.cell(row),
              )
            : column.cell(row),
        ),
      ),
    )
  }
}

const compare = (a, b) =>
  typeof a === 'string' && typeof b === 'string' ? byName(a, b) : a < b ? -1 : a > b ? 1 : 0
