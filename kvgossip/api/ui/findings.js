// What to look at: suspected partitions, and what the doctor found. Of many findings of one kind
// the first few are shown, until somebody asks for the others: a member that nobody reaches is one
// fault, and a finding of each that misses it.

import { h } from './dom.js'
import { ago, count, duration, number } from './format.js'

const LIKE_MAX = 3
const NAMES_MAX = 12
const GRAVE = new Set(['dead', 'dead_but_answers', 'unreachable_by_all', 'key_missing'])

// What the finding's colour says: the words say the rest.
const dotOf = (code) => `dot ${GRAVE.has(code) ? 'bad' : 'warn'}`

export class Findings {
  constructor(changed) {
    Object.assign(this, { changed, open: new Set() })
  }

  toggle(code) {
    if (!this.open.delete(code)) this.open.add(code)
    this.changed()
  }

  draw({ findings, findings_age_s: age, partitions }) {
    const kinds = Map.groupBy(findings, (each) => each.code)
    return h(
      'section',
      { class: 'panel', 'aria-live': 'polite' },
      h(
        'h2',
        {},
        'What to look at',
        h('small', {}, age == null ? 'not examined yet' : `examined ${ago(age)}`),
      ),
      partitions.slice(0, LIKE_MAX).map(drawPartition),
      partitions.length > LIKE_MAX &&
        h('p', { class: 'soft' }, `So do ${number(partitions.length - LIKE_MAX)} others.`),
      [...kinds].map(([code, found]) => this.drawKind(code, found)),
      !findings.length &&
        !partitions.length &&
        age != null &&
        h(
          'p',
          { class: 'empty' },
          'Nothing. All members that answer see each other, and their clocks agree.',
        ),
    )
  }

  drawKind(code, found) {
    const isOpen = this.open.has(code),
      more = found.length - LIKE_MAX
    return [
      (isOpen ? found : found.slice(0, LIKE_MAX)).map((each) =>
        h(
          'div',
          { key: each.code + each.pool + each.members, class: 'find' },
          h('i', { class: dotOf(code) }),
          h('p', {}, each.text),
          each.command && !each.text.includes(each.command) && h('code', {}, each.command),
        ),
      ),
      more > 0 &&
        h(
          'button',
          {
            key: code,
            class: 'plain more',
            'aria-expanded': isOpen,
            onclick: () => this.toggle(code),
          },
          isOpen ? 'Show fewer of these' : `Show ${number(more)} more of these`,
        ),
    ]
  }
}

const few = (names) =>
  names.slice(0, NAMES_MAX).join(', ') +
  (names.length > NAMES_MAX ? ` and ${count(names.length - NAMES_MAX, 'other')}` : '')

function drawPartition({ says, groups, since_s: since }) {
  return h(
    'div',
    { key: `partition ${says}`, class: 'find' },
    h('i', { class: 'dot bad' }),
    h(
      'p',
      {},
      `${says} suspects a partition${since == null ? '' : ` for ${duration(since)}`}`,
      groups.map((group, index) =>
        h('small', {}, index ? 'lost: ' : 'reached: ', h('b', {}, few(group) || 'nobody')),
      ),
    ),
  )
}
