module.exports = `greetings after ${require("ms")(1000)}`;
