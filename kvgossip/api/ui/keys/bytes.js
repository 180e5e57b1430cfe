// Values as people read them: text, JSON with its lines, or hexadecimal digits. What is shown is
// what is there: a number is never read and written again, so no digit is lost.

const LINE = 16
const TOKENS = /"(?:[^"\\]|\\.)*"|[[\]{},:]|[^\s[\]{},:"]+/g

// The text of these bytes; null where they are none.
export function textOf(data) {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(data)
  } catch {
    return null
  }
}

// JSON with a line for each member; null where the text is no object or list of JSON.
export function pretty(text) {
  if (text === null || !/^\s*[[{]/.test(text)) return null
  try {
    JSON.parse(text)
  } catch {
    return null
  }
  let out = '',
    depth = 0,
    before = ''
  const line = () => `\n${'  '.repeat(depth)}`
  for (const token of text.match(TOKENS)) {
    const opened = before === '{' || before === '['
    if (token === '}' || token === ']') {
      depth -= 1
      out += opened ? token : line() + token
    } else if (token === ',') out += token
    else if (token === ':') out += ': '
    else {
      out += opened || before === ',' ? line() + token : token
      if (token === '{' || token === '[') depth += 1
    }
    before = token
  }
  return out
}

export function hex(data, most) {
  const lines = []
  for (let start = 0; start < Math.min(data.length, most); start += LINE) {
    const part = [...data.subarray(start, start + LINE)]
    const digits = part.map((byte) => byte.toString(16).padStart(2, '0')).join(' ')
    const signs = part.map((byte) => (byte >= 32 && byte < 127 ? String.fromCharCode(byte) : '·'))
    lines.push(
      `${start.toString(16).padStart(6, '0')}  ${digits.padEnd(3 * LINE)} ${signs.join('')}`,
    )
  }
  return lines.join('\n')
}

// As a diff compares it.
export function shownText(data) {
  const text = textOf(data)
  return pretty(text) ?? text ?? hex(data, 64 * 1024)
}
