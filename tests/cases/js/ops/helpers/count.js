export const words = (text) => text.match(/[\wäöüß]+/g) ?? [];
