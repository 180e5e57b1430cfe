// Tables, sorted by a column that one chooses; before that, in the order of their rows.

import { h } from './dom.js'

export class Table {
  // Columns: {name, cell(row), by(row) for sorting}; `number` stands right, `long` may take lines.
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
    return [...rows].sort((a, b) => (known(a) < known(b) ? -turn : known(a) > known(b) ? turn : 0))
  }

  draw(rows) {
    return h(
      'div',
      { class: 'scroll', tabindex: 0, role: 'region', 'aria-label': this.label },
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
          this.inOrder(rows).map((row) => this.row(row)),
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
