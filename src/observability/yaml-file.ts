import { Document } from 'yaml'

/** YAML with a heading of comment lines. The same content gives the same bytes. */
export const yamlFile = (heading: readonly string[], content: object): string => {
  const document = new Document(content, { aliasDuplicateObjects: false })
  document.commentBefore = heading.map((line) => (line === '' ? '' : ` ${line}`)).join('\n')
  return document.toString({ lineWidth: 0 })
}
