/** The little XML that S3 answers with. Values are escaped; a nested string array repeats its element. */
type XmlNode = string | number | boolean | XmlElement | XmlElement[];
export interface XmlElement {
  [name: string]: XmlNode;
}

const escapeText = (text: string): string =>
  text.replace(/[&<>"'\p{Cc}]/gu, (character) => `&#${character.charCodeAt(0)};`);

function render(element: XmlElement): string {
  let text = '';
  for (const [name, value] of Object.entries(element)) {
    for (const node of Array.isArray(value) ? value : [value]) {
      text += `<${name}>${typeof node === 'object' ? render(node) : escapeText(String(node))}</${name}>`;
    }
  }
  return text;
}

export const xmlDocument = (element: XmlElement): string =>
  `<?xml version="1.0" encoding="UTF-8"?>\n${render(element)}`;
