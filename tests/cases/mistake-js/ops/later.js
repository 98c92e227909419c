/** @returns {string} */
export const f = async (text) => text;
