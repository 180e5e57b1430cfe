// The story of one key: what happened to it on every member, where they keep that.

import { json, keyPath, path } from '../api.js'
import { h } from '../dom.js'
import { clock } from '../format.js'

const SHOWN = 200
const WORDS = {
  write: 'written here by a client',
  import: 'imported from a backup',
  rumor: 'heard by a rumor',
  exchange: 'heard in an exchange',
  disk: 'found on the disk at the start',
  expired: 'expired',
  revived: 'served again, as the clock was set back',
  collected: 'forgotten',
  quarantined: 'taken out, as deleted',
}

const exact = (atMs) => `${clock(atMs)}.${String(Math.abs(atMs) % 1000).padStart(3, '0')}`

// All members are asked only where this one keeps it; null: it does not.
export async function storyOf(key, signal) {
  const own = await json(keyPath('story', key), { signal })
  if (own.members[0].story.since_ms === null) return null
  return json(path(keyPath('story', key), { everywhere: true }), { signal })
}

// By the clock of the node that answers: those of the others, less what they are ahead.
export function drawStory(story) {
  const steps = story.members.flatMap((member) =>
    (member.story?.steps ?? []).map((step, place) => ({
      ...step,
      place,
      name: member.name,
      atMs: step.at_ms - (member.clock_offset_ms ?? 0),
    })),
  )
  steps.sort((one, other) => one.atMs - other.atMs)
  const silent = story.members.filter((each) => each.silent)
  return [
    h('h2', { class: 'apart' }, 'Story', h('small', {}, 'what the members keep of this key')),
    steps.length === 0 && h('p', { class: 'empty' }, 'Nothing has happened to it since.'),
    h(
      'ol',
      { class: 'history story' },
      steps.slice(-SHOWN).map((step) =>
        h(
          'li',
          { key: `${step.name} ${step.place} ${step.at_ms}` },
          h('b', { class: 'mono' }, exact(step.atMs)),
          ` ${step.name}: ${WORDS[step.what] ?? step.what}`,
          step.peer && ` from ${step.peer}`,
          h(
            'small',
            { title: step.version },
            ` ${step.deleted ? 'the delete' : 'the write'} of ${exact(step.written_ms)}`,
            step.by && ` by ${step.by}`,
          ),
        ),
      ),
    ),
    silent.map((each) =>
      h('p', { key: each.name, class: 'empty' }, `${each.name} says nothing: ${each.silent}`),
    ),
  ]
}
