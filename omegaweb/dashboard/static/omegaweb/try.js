// Asks a model with what a form holds: <form data-try="route of the model">, inputs with data-feature or a textarea.
(() => {
  const form = document.querySelector("form[data-try]");
  if (!form) return;
  const answer = form.querySelector(".answer");

  const body = () => {
    const inputs = [...form.querySelectorAll("[data-feature]")];
    if (!inputs.length) return JSON.parse(form.querySelector("textarea").value);
    const value = (text) => (text.trim() !== "" && !Number.isNaN(Number(text)) ? Number(text) : text);
    return { columns: inputs.map((i) => i.dataset.feature), data: [inputs.map((i) => value(i.value))] };
  };

  const shown = (result) => {
    const text = JSON.stringify(result);
    if (!Array.isArray(result) || text.length < 80) return text;
    return `[\n${result.map((row) => `  ${JSON.stringify(row)}`).join(",\n")}\n]`;
  };

  const say = (text, kind) => {
    const shown = document.createElement(kind === "result" ? "pre" : "p");
    shown.className = kind === "result" ? "snippet" : `notice ${kind}`;
    shown.textContent = text;
    answer.replaceChildren(shown);
  };

  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const action = event.submitter?.value || "predict";
    let sent;
    try {
      sent = JSON.stringify(body());
    } catch (error) {
      return say(`That is no JSON: ${error.message}`, "bad");
    }
    say("Asking…", "quiet");
    form.setAttribute("aria-busy", "true");
    try {
      const headers = { "Content-Type": "application/json", "X-CSRFToken": form.elements.csrfmiddlewaretoken.value, Bucket: form.dataset.bucket };
      const response = await fetch(`${form.dataset.try}${action}/`, { method: "POST", headers, body: sent });
      const found = await response.json();
      if (found.error) say([found.error.message, found.error.hint].filter(Boolean).join(". Next: "), "bad");
      else say(shown(found.result), "result");
    } catch {
      say("The platform did not answer; try again.", "bad");
    } finally {
      form.removeAttribute("aria-busy");
    }
  });
})();
