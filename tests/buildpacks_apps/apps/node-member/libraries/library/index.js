module.exports = "with a library";
