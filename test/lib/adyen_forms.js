// Compares what we send with Adyen's own description of its API, and signatures
// with Adyen's own code: the package @adyen/api-library.
//
//	node adyen_forms.js PACKAGE_FOLDER FILE
//
// FILE: {"requests": [{"method", "path", "body"}], "bodies": [a webhook's body], "key": HEX}.
// Prints what is wrong, one thing a line, and at last "checked N requests, N items".
const fs = require('fs');
const [, , folder, file] = process.argv;
const lib = folder + '/lib/src';
const models = require(lib + '/typings/checkout/models');
const HmacValidator = require(lib + '/utils/hmacValidator').default;
const given = JSON.parse(fs.readFileSync(file, 'utf8'));

const FORMS = [
	[/^POST \/payments$/, 'PaymentRequest'],
	[/^POST \/payments\/[A-Z0-9]{16}\/captures$/, 'PaymentCaptureRequest'],
	[/^POST \/payments\/[A-Z0-9]{16}\/cancels$/, 'PaymentCancelRequest'],
	[/^POST \/payments\/[A-Z0-9]{16}\/refunds$/, 'PaymentRefundRequest'],
	[/^POST \/cancels$/, 'StandalonePaymentCancelRequest'],
	[/^POST \/paymentLinks$/, 'PaymentLinkRequest'],
	[/^PATCH \/paymentLinks\/PL[A-Z0-9]+$/, 'UpdatePaymentLinkRequest'],
];
// Of cards, and never in a request of ours.
const CARD = /^(encrypted.*|number|cvc|expiry.*|holderName)$/;

const declared = {};
function declaration(name)
{
	const path = `${lib}/typings/checkout/${name[0].toLowerCase()}${name.slice(1)}.d.ts`;
	return declared[name] ??= fs.readFileSync(path, 'utf8');
}

// What is wrong with a value, as that type of the package's.
function faults(value, type, where)
{
	const one = type.replace(/ \| null$/, '').trim();
	const list = /^Array<(.*)>$/.exec(one);

	if (list)
		return Array.isArray(value) ? value.flatMap((each, i) => faults(each, list[1], `${where}[${i}]`)) : [`${where} is no list`];
	if (one.startsWith('{ [key: string]: string; }'))
		return Object.entries(value).filter(([, each]) => typeof each !== 'string').map(([name]) => `${where}.${name} is no text`);
	if (['string', 'number', 'boolean'].includes(one))
		return typeof value === one ? [] : [`${where} is no ${one}`];
	if (/^\w+\.\w+Enum$/.test(one))
	{
		const [model, words] = one.split('.');
		return Object.values(models[model][words]).includes(value) ? [] : [`${where} is none of ${one}`];
	}
	if (models[one]?.attributeTypeMap)
		return of_model(value, one, where);
	const union = new RegExp(`export type ${one} = ([^;]+);`).exec(declaration(one));
	const tried = union[1].split('|').map((each) => faults(value, each.trim(), where));
	return tried.find((each) => each.length === 0) ?? tried[0];
}

function of_model(value, name, where)
{
	const members = new Map(models[name].attributeTypeMap.map((each) => [each.baseName, each.type]));
	const required = [...declaration(name).matchAll(/^ {4}"(\w+)": /gm)].map((each) => each[1]);

	return [
		...Object.keys(value).filter((each) => !members.has(each)).map((each) => `${where}.${each} is unknown to ${name}`),
		...required.filter((each) => !(each in value)).map((each) => `${where}.${each} is missing`),
		...Object.keys(value).filter((each) => CARD.test(each)).map((each) => `${where}.${each} is of a card`),
		...Object.entries(value).filter(([each]) => members.has(each)).flatMap(([each, v]) => faults(v, members.get(each), `${where}.${each}`)),
	];
}

const wrong = [];
for (const { method, path, body } of given.requests)
{
	const form = FORMS.find(([pattern]) => pattern.test(`${method} ${path}`));
	wrong.push(...(form ? faults(JSON.parse(body), form[1], path) : [`${method} ${path} is no request of the API`]));
}
let items = 0;
for (const body of given.bodies)
	for (const { NotificationRequestItem: item } of JSON.parse(body).notificationItems)
	{
		items++;
		if (!new HmacValidator().validateHMAC(item, given.key))
			wrong.push(`${item.eventCode} is signed otherwise`);
	}
// Proof that it finds what is wrong.
if (faults({ merchantAccount: 7, cvc: '1' }, 'PaymentRequest', '').length < 4)
	wrong.push('nothing is ever wrong');
wrong.forEach((each) => console.log(each));
console.log(`checked ${given.requests.length} requests, ${items} items`);
