document.querySelector("#app").textContent = "an app of one page";
